'use strict';
/*
 * Runs docs/wire/vectors.json against a real node-ipc:
 *
 *     node vectors.js FOLDER PACKAGE WHO VECTORS      WHO is its name in the file: v9, v10 or v14
 *
 * Each vector that is about WHO goes over a real socket, with a plain socket at the other end. What differs is a
 * JSON line {"section", "name", "expected", "found"}, the last line {"ran": {section: count}}. Exit code 1 where
 * something differs.
 */
const dgram = require('node:dgram');
const fs = require('node:fs');
const {createRequire} = require('node:module');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');

const [folder, packageName, who, file] = process.argv.slice(2);
const vectors = JSON.parse(fs.readFileSync(file, 'utf8'));
const places = fs.mkdtempSync(path.join(os.tmpdir(), 'vectors-')) + '/';
const MARK = 'vector.end';
const LATE = 10000;

const load = createRequire(path.resolve(folder, 'package.json'));
let made = 0;
let differences = 0;
const ran = {};

function newIPC(config) {
    const loaded = load(packageName);
    const {IPC} = loaded.default || loaded;
    const ipc = new IPC();
    Object.assign(ipc.config, {silent: true, socketRoot: places, appspace: '', maxRetries: 0, ...config});
    if (config.allowedEvents) {
        ipc.config.allowedEvents = [...config.allowedEvents, MARK];
    }
    return ipc;
}

function differs(section, name, expected, found) {
    differences++;
    process.stdout.write(JSON.stringify({section, name, expected, found}) + '\n');
}

function compare(section, vector, expected, found) {
    ran[section] = (ran[section] || 0) + 1;
    if (JSON.stringify(expected) !== JSON.stringify(found)) {
        differs(section, vector.name, expected, found);
    }
}

function within(promise, what) {
    let timer;
    const late = new Promise((_, fail) => {
        timer = setTimeout(() => fail(new Error(`too late: ${what}`)), LATE);
    });
    return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/* The vectors of a section that are about this implementation, those of one configuration together. */
function grouped(section) {
    const groups = new Map();
    for (const vector of vectors[section].filter((each) => each.by.includes(who))) {
        const key = JSON.stringify(vector.config);
        groups.set(key, [...(groups.get(key) || []), vector]);
    }
    return [...groups.values()];
}

function once(emitter, event) {
    return within(new Promise((done) => emitter.once(event, done)), event);
}

/* ---- a real client, and a plain server: what is written */

async function plainServer() {
    const server = net.createServer();
    const id = `plain${made++}`;
    server.listen(places + id);
    await once(server, 'listening');
    return {server, id, accepted: once(server, 'connection')};
}

class Wire {
    constructor(socket) {
        this.bytes = Buffer.alloc(0);
        this.changed = () => {};
        socket.on('data', (data) => {
            this.bytes = Buffer.concat([this.bytes, data]);
            this.changed();
        });
    }

    /* What came up to this ending, which is what was asked for: without the ending. */
    async until(ending) {
        const there = () => this.bytes.subarray(-ending.length).equals(ending);
        await within(new Promise((done) => {
            this.changed = () => there() && done();
            this.changed();
        }), 'bytes');
        const taken = this.bytes.subarray(0, this.bytes.length - ending.length);
        this.bytes = Buffer.alloc(0);
        return taken.toString('hex');
    }
}

async function withClient(config, use) {
    const {server, id, accepted} = await plainServer();
    const ipc = newIPC({...config, id: 'client'});
    ipc.connectTo(id);
    const client = ipc.of[id];
    client.on('error', () => {});
    const connected = new Promise((done) => client.on('connect', done));
    const socket = await accepted;
    const wire = new Wire(socket);
    await within(connected, 'connect');
    await use(client, wire);
    ipc.disconnect(id);
    socket.destroy();
    server.close();
}

async function write(section) {
    for (const group of grouped(section)) {
        await withClient(group[0].config, async (client, wire) => {
            const delimiter = group[0].config.delimiter || '\f';
            const mark = Buffer.from(JSON.stringify({type: MARK, data: 0}) + delimiter);
            for (const vector of group) {
                client.emit(...vector.emit);
                client.emit(MARK, 0);
                compare(section, vector, vector.bytes, await wire.until(mark));
            }
        });
    }
}

async function refuseToWrite(section) {
    for (const group of grouped(section)) {
        await withClient(group[0].config, async (client) => {
            for (const vector of group) {
                let code = null;
                try {
                    client.emit(...vector.emit);
                } catch (error) {
                    code = error.code;
                }
                compare(section, vector, vector.code, code);
            }
        });
    }
}

async function rawWrite(section) {
    for (const group of grouped(section)) {
        await withClient(group[0].config, async (client, wire) => {
            const mark = Buffer.from('fe20656e6420fe', 'hex');
            for (const vector of group) {
                const {text, bytes} = vector.emit;
                client.emit(text === undefined ? Buffer.from(bytes, 'hex') : text);
                client.emit(mark);
                compare(section, vector, vector.bytes, await wire.until(mark));
            }
        });
    }
}

/* ---- a real server, and plain clients: what is read */

async function withServer(config, names, use) {
    const ipc = newIPC({...config, id: `real${made++}`});
    await within(new Promise((done) => {
        ipc.serve(done);
        ipc.server.start();
    }), 'start');
    const ear = new Ear(ipc.server, names);
    await use(ear, places + ipc.config.id);
    const kernel = ipc.server.server;
    ipc.server.stop();
    try {
        kernel.close();
    } catch {
        /* it was closed by stop() */
    }
}

/* What one endpoint hears of its peers. */
class Ear {
    constructor(emitter, names) {
        this.begin();
        for (const name of new Set([...names, MARK])) {
            emitter.on(name, (data) => (name === MARK ? this.over() : this.events.push([name, data])));
        }
        emitter.on('error', (error) => {
            this.error = error.code || error.message;
            this.over();
        });
    }

    begin() {
        this.events = [];
        this.error = null;
        this.ended = new Promise((done) => {
            this.over = done;
        });
    }
}

const soon = () => new Promise((done) => setTimeout(done, 2));

async function read(section) {
    for (const group of grouped(section)) {
        const names = group.flatMap((vector) => vector.events.map((event) => event[0]));
        const delimiter = group[0].config.delimiter || '\f';
        await withServer(group[0].config, names, async (ear, place) => {
            for (const vector of group) {
                ear.begin();
                const socket = net.connect(place);
                socket.on('error', () => {});
                await once(socket, 'connect');
                for (const chunk of vector.chunks) {
                    socket.write(Buffer.from(chunk, 'hex'));
                    await soon();
                }
                if (vector.error === null) {
                    socket.write(JSON.stringify({type: MARK, data: 0}) + delimiter);
                }
                await within(ear.ended, vector.name);
                compare(section, vector, [vector.events, vector.error], [ear.events, ear.error]);
                socket.destroy();
            }
        });
    }
}

async function rawRead(section) {
    for (const group of grouped(section)) {
        const ipc = newIPC({...group[0].config, id: `real${made++}`});
        await within(new Promise((done) => {
            ipc.serve(done);
            ipc.server.start();
        }), 'start');
        for (const vector of group) {
            let heard = Buffer.alloc(0);
            let changed = () => {};
            const hear = (data) => {
                heard = Buffer.concat([heard, Buffer.from(data)]);
                changed();
            };
            ipc.server.on('data', hear);
            const socket = net.connect(places + ipc.config.id);
            await once(socket, 'connect');
            socket.write(Buffer.from(vector.bytes, 'hex'));
            await within(new Promise((done) => {
                changed = () => heard.length >= vector.heard.length / 2 && done();
                changed();
            }), vector.name);
            compare(section, vector, vector.heard, heard.toString('hex'));
            ipc.server.off('data', hear);
            socket.destroy();
        }
        const kernel = ipc.server.server;
        ipc.server.stop();
        try {
            kernel.close();
        } catch {
            /* it was closed by stop() */
        }
    }
}

/* ---- UDP */

async function freePort() {
    const socket = dgram.createSocket('udp4');
    socket.bind(0, '127.0.0.1');
    await once(socket, 'listening');
    const {port} = socket.address();
    await new Promise((done) => socket.close(done));
    return port;
}

async function readDatagrams(section) {
    for (const group of grouped(section)) {
        const port = await freePort();
        const ipc = newIPC({...group[0].config, id: 'udp', networkHost: '127.0.0.1'});
        await within(new Promise((done) => {
            ipc.serveNet('127.0.0.1', port, 'udp4', done);
            ipc.server.start();
        }), 'start');
        const ear = new Ear(ipc.server, group.flatMap((vector) => vector.events.map((event) => event[0])));
        const peer = dgram.createSocket('udp4');
        const send = (bytes) => new Promise((done) => peer.send(bytes, port, '127.0.0.1', done));
        for (const vector of group) {
            ear.begin();
            for (const datagram of vector.datagrams) {
                await send(Buffer.from(datagram, 'hex'));
            }
            const again = setInterval(() => send(JSON.stringify({type: MARK, data: 0}) + '\f'), 100);
            await within(ear.ended, vector.name).finally(() => clearInterval(again));
            compare(section, vector, vector.events, ear.events);
        }
        peer.close();
        ipc.server.stop();
        try {
            ipc.server.server.close();
        } catch {
            /* it was closed by stop() */
        }
    }
}

/* ---- where an id is; nothing listens but on Windows, whose rule is carried out at the start */

async function addresses(section) {
    for (const vector of vectors[section].filter((each) => who in each.server)) {
        compare(section, vector, vector.server[who], await where(vector));
    }
}

async function where(vector) {
    const saved = {platform: process.platform, getuid: process.getuid, cwd: process.cwd()};
    const names = ['XDG_RUNTIME_DIR', 'TMPDIR', 'TMP', 'TEMP'];
    const environ = names.map((name) => process.env[name]);
    names.forEach((name) => set(name, vector.environ[name]));
    Object.defineProperty(process, 'platform', {value: vector.platform});
    process.getuid = () => vector.uid;
    try {
        const loaded = load(packageName);
        const {IPC} = loaded.default || loaded;
        const ipc = new IPC();
        Object.assign(ipc.config, {silent: true}, vector.config);
        if (vector.platform !== 'win32') {
            ipc.serve();
            return ipc.server.path;
        }
        process.chdir(places);
        await within(new Promise((done) => {
            ipc.serve(done);
            ipc.server.on('error', done);
            ipc.server.start();
        }), 'start');
        const {path: place, server} = ipc.server;
        server.close();
        return place;
    } finally {
        process.chdir(saved.cwd);
        process.getuid = saved.getuid;
        Object.defineProperty(process, 'platform', {value: saved.platform});
        names.forEach((name, index) => set(name, environ[index]));
    }
}

function set(name, value) {
    if (value === undefined) {
        delete process.env[name];
    } else {
        process.env[name] = value;
    }
}

async function main() {
    await write('write');
    await refuseToWrite('refuse_to_write');
    await read('read');
    await rawWrite('raw_write');
    await rawRead('raw_read');
    await readDatagrams('datagrams');
    await addresses('addresses');
    process.stdout.write(JSON.stringify({ran}) + '\n');
}

main()
    .catch((error) => differs('', 'the script itself', null, error.stack))
    .finally(() => {
        fs.rmSync(places, {recursive: true, force: true});
        process.exit(differences ? 1 : 0);
    });
