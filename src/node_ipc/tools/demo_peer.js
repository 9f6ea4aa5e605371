'use strict';
/*
 * Either end of `node-ipc demo --node`, with real node-ipc:
 *
 *     node demo_peer.js server|client SOCKET_ROOT PACKAGE_FOLDER
 *
 * It says and hears the same as demo_server.py and demo_client.py, and reports it in the same JSON lines.
 */
const [role, socketRoot, folder] = process.argv.slice(2);
const loaded = require(folder);
const ipc = new (loaded.default || loaded).IPC();

Object.assign(ipc.config, {id: role === 'server' ? 'world' : 'hello', socketRoot, silent: true, maxRetries: 20});
setTimeout(() => process.exit(1), 120000).unref(); // nobody watches any more

function report(does, type, data) {
    console.log(JSON.stringify({does, type, data}));
}

function serve() {
    ipc.serve(() => {
        const {server} = ipc;
        const say = (socket, type, data) => {
            report('says', type, data);
            server.emit(socket, type, data);
        };
        server.on('message', (data, socket) => {
            report('hears', 'message', data);
            say(socket, 'message', data + ' world!');
        });
        server.on('order', (data, socket) => {
            report('hears', 'order', data);
            say(socket, 'bill', {for: data.item, total: data.cups * 2.5});
        });
        server.on('everybody', (data) => {
            report('hears', 'everybody', data);
            report('broadcasts', 'news', data);
            server.broadcast('news', data);
        });
        server.on('connect', () => report('accepts', 'a socket'));
        server.on('socket.disconnected', () => {
            report('loses', 'a socket');
            server.stop();
            setImmediate(() => process.exit(0));
        });
        report('listens', 'at', server.server.address());
    });
    ipc.server.on('error', fail);
    ipc.server.start();
}

function connect() {
    ipc.connectTo('world', () => {
        const {world} = ipc.of;
        const say = (type, data) => {
            report('says', type, data);
            world.emit(type, data);
        };
        const answers = {
            message: () => say('order', {item: 'tea', cups: 2, note: '\u2615 without sugar'}),
            bill: () => say('everybody', 'tea is ready'),
            news: () => {
                report('leaves', 'world');
                ipc.disconnect('world');
            },
        };
        world.on('connect', () => {
            report('connects', 'to world');
            say('message', 'hello');
        });
        for (const [type, answer] of Object.entries(answers)) {
            world.on(type, (data) => {
                report('hears', type, data);
                answer();
            });
        }
    });
}

function fail(error) {
    console.error(error && error.stack || error);
    process.exit(1);
}

({server: serve, client: connect})[role]();
