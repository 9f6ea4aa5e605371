// Asks the Python worker, with plain node-ipc: `node driver.js [directory of sockets [directory of node_modules]]`.
// A request is one event, its answer another: JSON-RPC 2.0 in "rpc.request" and "rpc.response".
const path = require('path');
const [root = '/tmp/', modules] = process.argv.slice(2);
const load = (name) => require(modules ? path.join(modules, name) : name);

async function main(ipc) {
    ipc.config.id = 'driver';
    ipc.config.silent = true;
    ipc.config.socketRoot = root;

    let last = 0;
    const waiting = new Map();
    function request(worker, method, params) {
        const id = ++last;
        worker.emit('rpc.request', {jsonrpc: '2.0', id, method, params});
        return new Promise((resolve, reject) => waiting.set(id, {resolve, reject}));
    }

    ipc.connectTo('worker', () => {
        const worker = ipc.of.worker;
        worker.on('rpc.response', ({id, result, error}) => {
            const {resolve, reject} = waiting.get(id);
            waiting.delete(id);
            error ? reject(new Error(error.message)) : resolve(result);
        });
        worker.on('connect', async () => {
            console.log('summary', JSON.stringify(await request(worker, 'summary', {values: [1, 2, 6]})));
            await request(worker, 'summary', {values: 'none'}).catch((error) => console.log('refused:', error.message));
            ipc.disconnect('worker');
        });
    });
}

main(load('node-ipc').default || load('node-ipc'));
