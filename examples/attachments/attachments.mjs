// A parser for node-ipc 14: Buffers travel beside the JSON, raw, to and from Python's node_ipc. docs/wire/index.md says
// how ("Attachments"). Give it as `ipc.config.parser`, and call `agree` with each client and server.
import {isArray} from './arrays.mjs';

const BEGIN = '{"attachments":[', ANSWER = 'ipc.attachments', OFFERED = 'attachments.offered';
const OFFER_BYTES = 16 * 1024, MOST = 256, fits = (size) => Number.isSafeInteger(size) && size >= 0;

/** The parser, made of node-ipc's own module `node-ipc/parsers`: its guarded one, and Buffers besides. */
export const attachmentsParser = ({GuardedParser, IPCProtocolError}) => class extends GuardedParser {
    encoding = 'latin1'; // what comes is one character a byte, so that bytes survive
    link = null; // what was agreed with whom `encode` is for, while the emit of `agree` runs
    links = new WeakMap(); // the same for each peer, by the function that its messages are given to
    linkOf = (receive) => this.links.get(receive) ?? this.links.set(receive, {}).get(receive);

    encode(type, data = {}) {
        this.validateType(type);
        const {link} = this, entries = [], buffers = [];
        let offers = false; // in this frame: once on a link
        const lift = (value, at) => {
            if (value instanceof Uint8Array) {
                offers ||= Boolean(link) && !link.agreed && !link.offered && value.length >= OFFER_BYTES;
                if (!link?.agreed || buffers.length === MOST) return Buffer.from(value).toString('base64');
                return (entries.push({at, size: value.length}), buffers.push(value), null);
            }
            if (Array.isArray(value)) return value.map((item, index) => lift(item, [...at, index]));
            if (!value || ![Object.prototype, null].includes(Object.getPrototypeOf(value))) return value;
            return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, lift(item, [...at, name])]));
        };
        const message = {type, data: lift(data, [])}, head = buffers.length ? {attachments: entries, ...message} : message;
        if (offers) (link.offered = true, head.attachments = 1);
        const frame = Buffer.concat([Buffer.from(JSON.stringify(head) + this.delimiter), ...buffers]);
        return (this.assertFrameSize(0, frame.length - this.delimiterBytes), frame);
    }

    read(rest, data, receive) {
        const state = rest || {text: '', message: null, parts: [], missing: 0};
        while (data) data = state.message ? this.take(state, data, receive) : this.cut(state, data, receive);
        return state.text || state.message ? state : '';
    }

    cut(state, data, receive) { // one frame; returns what is left of the data
        const delimiter = Buffer.from(this.delimiter).toString('latin1'), text = state.text + data;
        const end = text.indexOf(delimiter, Math.max(0, state.text.length - delimiter.length + 1));
        this.assertFrameSize(0, end < 0 ? text.length : end);
        if (end < 0) return (state.text = text, '');
        state.text = '';
        const message = this.decodeMessage(Buffer.from(text.slice(0, end), 'latin1').toString());
        if (text.startsWith(BEGIN)) this.expect(state, message, end, receive, this.linkOf(receive));
        else if (message.type === ANSWER) this.linkOf(receive).agreed = true;
        else receive(message);
        if (message.attachments === 1) (this.linkOf(receive).agreed = true, receive({type: OFFERED, data: {}}));
        return text.slice(end + delimiter.length);
    }

    expect(state, message, length, receive, {offered, agreed}) { // attachments follow a frame of that length
        const all = message.attachments, right = all.every((entry) => Array.isArray(entry?.at) && fits(entry.size));
        const fault = !right ? 'what is said of attachments cannot be' : !offered && !agreed && 'nobody asked for them';
        if (fault) throw new IPCProtocolError('ERR_IPC_INVALID_MESSAGE', fault);
        if (all.length > MOST) throw new IPCProtocolError('ERR_IPC_FRAME_TOO_LARGE', `more than ${MOST} attachments`);
        Object.assign(state, {message, parts: [], missing: all.reduce((sum, {size}) => sum + size, 0)});
        this.assertFrameSize(0, length + state.missing);
        if (!state.missing) this.take(state, '', receive);
    }

    take(state, data, receive) { // bytes of attachments; returns what is left of the data
        const {message} = state, part = data.slice(0, state.missing);
        state.parts.push(Buffer.from(part, 'latin1'));
        state.missing -= part.length;
        if (state.missing) return '';
        const bytes = Buffer.concat(state.parts), root = {data: message.data};
        Object.assign(state, {message: null, parts: []});
        let start = 0;
        const placed = message.attachments.every(({at, size, dtype, shape, order}) => {
            const value = bytes.subarray(start, start += size);
            if (dtype != null) Object.assign(value, {dtype, shape, order}); // they say what array it is
            return (dtype == null || isArray(size, dtype, shape, order)) && put(root, ['data', ...at], value);
        });
        const error = placed || new IPCProtocolError('ERR_IPC_INVALID_PAYLOAD', 'an attachment that fits nowhere');
        receive(placed ? {type: message.type, data: root.data} : {type: 'error', data: error});
        return data.slice(part.length);
    }
};

function put(root, path, value) { // where null stands for it; whether it does
    const last = path.pop();
    const place = path.reduce((value, name) => value && Object.hasOwn(value, name) ? value[name] : null, root);
    return Boolean(place) && Object.hasOwn(place, last) && place[last] === null && (place[last] = value, true);
}

/** Let a client (`ipc.of.world`) or a server (`ipc.server`) with that parser send Buffers to whoever can read them. */
export function agree(end) {
    const {parser, sockets} = end, emit = end.emit.bind(end);
    end.emit = (...call) => {
        parser.link = parser.linkOf(sockets ? call[0].ipcDispatch : end.receiveMessage);
        try { return emit(...call); } finally { parser.link = null; }
    };
    end.on(OFFERED, (data, socket) => end.emit(...(sockets ? [socket] : []), ANSWER, {version: 1}));
    if (!sockets) end.on('disconnect', () => parser.links.delete(end.receiveMessage));
}
