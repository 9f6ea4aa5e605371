// Turns pictures round, with node-ipc 14: `node mirror.mjs`. With `ask` it has mirror.py turn one.
// Two more arguments, for those who want them: the directory of sockets, and where node_modules is.
import {createRequire} from 'node:module';
import {agree, attachmentsParser} from './attachments.mjs';

const [role = 'serve', root = '/tmp/', modules] = process.argv.slice(2);
const require = createRequire(modules ? `${modules}/` : import.meta.url);
const ipc = require('node-ipc').default;
ipc.config.socketRoot = root;
ipc.config.silent = true;
ipc.config.maxMessageSize = 64 * 1024 * 1024;
ipc.config.maxPendingBytes = 64 * 1024 * 1024;
ipc.config.parser = attachmentsParser(require('node-ipc/parsers'));

if (role === 'serve') {
    ipc.config.id = 'mirror';
    ipc.serve(() => {
        agree(ipc.server);
        ipc.server.on('picture', ({name, pixels}, socket) => {
            const raw = Buffer.isBuffer(pixels); // the first come as base64, until both ends know of each other
            const bytes = raw ? pixels : Buffer.from(pixels, 'base64');
            ipc.server.emit(socket, 'mirrored', {name, raw, pixels: Buffer.from(bytes).reverse()});
        });
        console.log('ready');
    });
    ipc.server.start();
} else {
    ipc.config.id = 'painter';
    const pixels = Buffer.from(Uint8Array.from({length: 4 * 1024 * 1024}, (_, index) => index % 251));
    let asked = 0;
    ipc.connectTo('mirror', () => {
        const {mirror} = ipc.of;
        agree(mirror);
        const ask = () => mirror.emit('picture', {name: `number ${++asked}`, pixels});
        mirror.on('connect', ask);
        mirror.on('mirrored', ({name, raw, pixels: mirrored}) => {
            const came = Buffer.isBuffer(mirrored) ? mirrored : Buffer.from(mirrored, 'base64');
            const right = came.reverse().equals(pixels);
            console.log(`${name}: ${right ? 'right' : 'wrong'}, raw there ${raw}, raw here ${Buffer.isBuffer(mirrored)}`);
            if (asked < 4) ask();
            else ipc.disconnect('mirror');
        });
    });
}
