// What is said of an array that travels beside the JSON (NumPy's dtype, shape and order): whether its bytes can be that.
const DTYPE = /^[<>|](?:([biufcSUV])(\d{1,9})|[mM](8)(?:\[[A-Za-z0-9]+\])?)$/;
const SIZES = {b: [1], i: [1, 2, 4, 8], u: [1, 2, 4, 8], f: [2, 4, 8, 12, 16], c: [8, 16, 24, 32]};
const MOST_DIMENSIONS = 32, MOST_LEVELS = 8; // of an array, and of records in records

/** Whether `size` bytes are an array of this dtype, shape and order. */
export const isArray = (size, dtype, shape, order = 'C') =>
    itemSize(dtype, MOST_LEVELS) * product(shape) === size && (order === 'C' || order === 'F');

function product(shape) {
    const sound = Array.isArray(shape) && shape.length <= MOST_DIMENSIONS;
    if (!sound || !shape.every((each) => Number.isSafeInteger(each) && each >= 0)) return NaN;
    return shape.reduce((count, each) => count * each, 1);
}

function itemSize(dtype, levels) { // in bytes; NaN where it is no dtype of plain values
    if (Array.isArray(dtype) && dtype.length && levels) {
        return dtype.reduce((sum, field) => sum + itemSize(field?.[1], levels - 1) * product(field?.[2] ?? []), 0);
    }
    const [, kind, size, time] = (typeof dtype === 'string' && DTYPE.exec(dtype)) || [];
    return time ? 8 : SIZES[kind] && !SIZES[kind].includes(+size) ? NaN : size * (kind === 'U' ? 4 : 1);
}
