// Somebody in a room of the chat, with plain node-ipc: `node client.js NAME ROOM`. Each line that you type is said.
// Two more arguments are optional: the directory of sockets, and a directory of node_modules.
const path = require('path');
const [name, room, root = '/tmp/', modules] = process.argv.slice(2);
const load = (module) => require(modules ? path.join(modules, module) : module);

function main(ipc) {
    ipc.config.id = name;
    ipc.config.silent = true;
    ipc.config.socketRoot = root;
    ipc.connectTo('chat', () => {
        const chat = ipc.of.chat;
        chat.on('connect', () => chat.emit('enter', {name, room}));
        chat.on('welcome', () => console.log(`in ${room}`));
        chat.on('said', (said) => console.log(`${said.name}: ${said.text}`));
        chat.on('entered', (other) => console.log(`${other} is here`));
        chat.on('left', (other) => console.log(`${other} is gone`));
        chat.on('rpc.request', ({id, method}) => { // a server of the chat asks, whichever it is
            const reply = method === 'name' ? {result: name} : {error: {code: -32601, message: `there is no ${method}`}};
            chat.emit('rpc.response', {jsonrpc: '2.0', id, ...reply});
        });
        let rest = '';
        process.stdin.on('data', (chunk) => {
            const lines = (rest + chunk).split('\n');
            rest = lines.pop();
            for (const line of lines) chat.emit('say', line);
        });
        process.stdin.on('end', () => ipc.disconnect('chat'));
    });
}

main(load('node-ipc').default || load('node-ipc'));
