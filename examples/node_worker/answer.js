// A Node process that answers requests, with plain node-ipc: `node answer.js`, then `python ask.py`.
// The two arguments are optional: the directory of sockets, and a directory of node_modules.
const path = require('path');
const [root = '/tmp/', modules] = process.argv.slice(2);
const load = (name) => require(modules ? path.join(modules, name) : name);

const methods = {
    upper: (text) => text.toUpperCase(),
    add: ({a, b}) => a + b,
};

function main(ipc) {
    ipc.config.id = 'answers';
    ipc.config.silent = true;
    ipc.config.socketRoot = root;
    ipc.serve(() => {
        ipc.server.on('rpc.request', ({id, method, params}, socket) => {
            const answer = {jsonrpc: '2.0', id};
            try {
                if (Object.keys(methods).includes(method)) answer.result = methods[method](params);
                else answer.error = {code: -32601, message: `there is no method ${method}`};
            } catch (error) { // whoever asks is answered, and the others are not left alone
                answer.error = {code: -32603, message: `${method} failed`};
                console.error(error);
            }
            ipc.server.emit(socket, 'rpc.response', answer);
        });
        console.log('ready to answer');
    });
    ipc.server.start();
}

main(load('node-ipc').default || load('node-ipc'));
