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
    function request(worker, method, params, seconds = 30) {
        const id = ++last;
        worker.emit('rpc.request', {jsonrpc: '2.0', id, method, params});
        return new Promise((resolve, reject) => {
            const late = () => settle(id, 'reject', new Error(`no answer to ${method} within ${seconds} s`));
            waiting.set(id, {resolve, reject, timer: setTimeout(late, seconds * 1000)});
        });
    }
    function settle(id, how, value) {
        const one = waiting.get(id);
        if (!one) return; // answered too late
        waiting.delete(id);
        clearTimeout(one.timer);
        one[how](value);
    }

    ipc.connectTo('worker', () => {
        const worker = ipc.of.worker;
        worker.on('rpc.response', ({id, result, error}) => {
            if (error) settle(id, 'reject', new Error(error.message));
            else settle(id, 'resolve', result);
        });
        worker.on('disconnect', () => { // the worker died: nobody will answer what it was asked
            for (const id of [...waiting.keys()]) settle(id, 'reject', new Error('the worker is gone'));
        });
        worker.on('connect', async () => {
            try {
                console.log('summary', JSON.stringify(await request(worker, 'summary', {values: [1, 2, 6]})));
                await request(worker, 'summary', {values: 'none'});
            } catch (error) {
                console.log('refused:', error.message);
            }
            ipc.disconnect('worker');
        });
    });
}

main(load('node-ipc').default || load('node-ipc'));
