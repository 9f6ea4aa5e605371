'use strict';
/*
 * A real node-ipc, driven by a test: commands are JSON lines on stdin, answers and events JSON lines on stdout.
 *
 *     node peer.js FOLDER PACKAGE        FOLDER is where npm installed PACKAGE
 *
 * Every endpoint ("end") is an independent IPC instance with a number that the test gives it. A command is
 * {"n": 1, "cmd": "emit", "end": 3, ...}, its answer {"answer": 1, ...}. Every event of every end is a line
 * {"end": 3, "event": "message", "data": ..., "socket": 0}; bytes are {"hex": ...}, an Error is {"error": ...},
 * and a payload of more than LONG characters {"length": ..., "sha256": ...} of its JSON in UTF-8.
 * The program ends when its stdin does, so it cannot outlive the test.
 */
const {createHash} = require('node:crypto');
const {createRequire} = require('node:module');
const {join} = require('node:path');

const [folder, packageName] = process.argv.slice(2);
const loaded = createRequire(join(folder, 'package.json'))(packageName);
const {IPC} = loaded.default || loaded;

const LONG = 64 * 1024;
const LIFECYCLE = new Set(['start', 'connect', 'disconnect', 'destroy', 'close', 'socket.disconnected']);

const ends = new Map();

function say(line) {
    process.stdout.write(JSON.stringify(line) + '\n');
}

/* ---- what is told of an event ---- */

function shown(value) {
    if (Buffer.isBuffer(value)) {
        return {hex: value.toString('hex')};
    }
    if (value instanceof Error) {
        return {error: value.message, code: value.code};
    }
    const text = JSON.stringify(value);
    if (text !== undefined && text.length > LONG) {
        return {length: Buffer.byteLength(text), sha256: createHash('sha256').update(text).digest('hex')};
    }
    return {data: value};
}

function socketNumber(end, socket) {
    const number = end.sockets.indexOf(socket);
    return number === -1 ? undefined : number;
}

function reported(end, type, first, second) {
    if (LIFECYCLE.has(type)) {
        return {socket: socketNumber(end, first), id: second};
    }
    const sender = second && second.address && second.port && !second.write
        ? {address: second.address, port: second.port}
        : undefined;
    return {socket: socketNumber(end, second), id: second ? second.id : undefined, sender, ...shown(first)};
}

/* ---- an endpoint ---- */

function open(command) {
    const ipc = inEnvironment(command.env || {}, () => new IPC());

    Object.assign(ipc.config, {silent: true}, command.config);
    const end = {
        number: command.end, ipc, server: null, client: null, sockets: [],
        echo: command.echo, hear: command.hear,
    };
    ends.set(command.end, end);
    return end;
}

/* node-ipc reads the environment when the instance is made. */
function inEnvironment(variables, make) {
    const saved = {};
    for (const name of Object.keys(variables)) {
        saved[name] = process.env[name];
        set(name, variables[name]);
    }
    try {
        return make();
    } finally {
        Object.keys(saved).forEach((name) => set(name, saved[name]));
    }
}

function set(name, value) {
    if (value === undefined || value === null) {
        delete process.env[name];
    } else {
        process.env[name] = value;
    }
}

/* By name, as users do: the "*" handlers of 9.2.1 crash on an event without arguments. */
function watch(end, emitter) {
    for (const type of [...LIFECYCLE, ...end.hear]) {
        emitter.on(type, (first, second) => heard(end, type, first, second));
    }
}

function heard(end, type, first, second) {
    if (type === 'connect' && end.server) {
        end.sockets.push(first);
    }
    say({end: end.number, event: type, ...reported(end, type, first, second)});
    if (end.echo && type !== 'error' && !LIFECYCLE.has(type)) {
        send(end, second, type, first);
    }
}

function send(end, socket, type, data) {
    const payload = end.ipc.config.rawBuffer ? [data] : [type, data];
    return end.server ? end.server.emit(socket, ...payload) : end.client.emit(...payload);
}

/* Counts a burst instead of reporting each message, and says whether the numbers came in order. */
function countUp(end, type, total) {
    let received = 0;
    const misplaced = [];
    (end.server || end.client).on(type, (data) => {
        if (data.n !== received && misplaced.length < 10) {
            misplaced.push([received, data.n]);
        }
        received++;
        if (received === total) {
            say({end: end.number, event: 'counted', data: {received, misplaced}});
        }
    });
}

function payloadOf(command) {
    if (command.hex !== undefined) {
        return Buffer.from(command.hex, 'hex');
    }
    return command.repeat ? command.repeat[0].repeat(command.repeat[1]) : command.data;
}

/* ---- servers ---- */

function listen(end, answer) {
    const server = end.server = end.ipc.server;
    watch(end, server);
    server.on('error', (error) => answer({error: error.message, code: error.code}));
    server.start();
}

function address(end) {
    const bound = end.server.server.address();
    return typeof bound === 'string' ? {path: bound} : bound;
}

function closed(server, then) {
    try {
        server.close(then);
    } catch (error) {
        then(error);
    }
}

function stop(end, then) {
    const kernel = end.server.server;
    end.server.stop();
    for (const socket of end.sockets) {
        if (socket !== kernel) {
            socket.destroy();
        }
    }
    closed(kernel, then);
}

/* ---- the commands ---- */

const commands = {
    serve(command, answer) {
        const end = open(command);
        end.ipc.serve(() => answer({address: address(end)}));
        listen(end, answer);
    },

    serveNet(command, answer) {
        const end = open(command);
        end.ipc.serveNet(...command.where, () => {
            /* up to 12 a UDP server says "start" before the kernel has bound its port */
            const bound = () => answer({address: address(end)});
            isBound(end) ? bound() : end.server.server.once('listening', bound);
        });
        listen(end, answer);
    },

    connectTo(command, answer) {
        const end = open(command);
        end.ipc.connectTo(command.id);
        connected(end, command.id, answer);
    },

    connectToNet(command, answer) {
        const end = open(command);
        end.ipc.connectToNet(command.id, ...command.where);
        connected(end, command.id, answer);
    },

    emit(command, answer) {
        const end = ends.get(command.end);
        send(end, command.to === undefined ? command.peer : end.sockets[command.to], command.type, payloadOf(command));
        answer({});
    },

    broadcast(command, answer) {
        const end = ends.get(command.end);
        end.server.broadcast(...(end.ipc.config.rawBuffer ? [] : [command.type]), payloadOf(command));
        answer({});
    },

    burst(command, answer) {
        const end = ends.get(command.end);
        for (let n = 0; n < command.count; n++) {
            send(end, end.sockets[command.to], command.type, {n});
        }
        answer({});
    },

    count(command, answer) {
        countUp(ends.get(command.end), command.type, command.total);
        answer({});
    },

    disconnect(command, answer) {
        const end = ends.get(command.end);
        end.ipc.disconnect(end.id);
        answer({});
    },

    /* Ends one socket of a server from its side: the server goes on. */
    drop(command, answer) {
        ends.get(command.end).sockets[command.to].destroy();
        answer({});
    },

    stop(command, answer) {
        stop(ends.get(command.end), () => answer({}));
    },

    reset(command, answer) {
        const open = [...ends.values()];
        ends.clear();
        const waits = open.map((end) => new Promise((done) => {
            if (end.client) {
                end.ipc.disconnect(end.id);
                done();
            } else if (end.server && end.server.server) {
                stop(end, done);
            } else {
                done();
            }
        }));
        Promise.all(waits).then(() => answer({}));
    },
};

function isBound(end) {
    try {
        end.server.server.address();
        return true;
    } catch {
        return false;
    }
}

function connected(end, id, answer) {
    end.id = id;
    end.client = end.ipc.of[id];
    watch(end, end.client);
    answer({});
}

function obey(line) {
    const command = JSON.parse(line);
    let answered = false;
    const answer = (fields) => {
        if (!answered) {
            answered = true;
            say({answer: command.n, ...fields});
        }
    };
    try {
        commands[command.cmd](command, answer);
    } catch (error) {
        answer({error: error.message, code: error.code});
    }
}

let unfinished = '';
process.stdin.setEncoding('utf8');
process.stdin.on('data', (text) => {
    const lines = (unfinished + text).split('\n');
    unfinished = lines.pop();
    lines.forEach(obey);
});
process.stdin.on('end', () => process.exit(0));
say({ready: process.version});
