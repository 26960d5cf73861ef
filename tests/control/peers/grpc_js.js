// grpc_js.js PROBE_ADDRESS PROBE_PROTO HOLDFAST_ADDRESS PROTO_FOLDER: @grpc/grpc-js calls a probe_server and a holdfastd.
// A line a case, `ok NAME` or `not ok NAME: why`; exit 0 when all were ok.
'use strict';

const assert = require('node:assert');
const {once} = require('node:events');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const [probeAddress, probeProto, holdfastAddress, protoFolder] = process.argv.slice(2);
const OPTIONS = {longs: String, enums: String, defaults: true, includeDirs: [protoFolder]};
const WAIT_MS = 120000;

function load(file) {
    return grpc.loadPackageDefinition(loader.loadSync(file, OPTIONS));
}

const Probe = load(probeProto).probe.v1.Probe;
const shop = Object.assign({}, ...['catalog', 'inventory', 'orders', 'admin'].map((name) => load(`holdfast/v1/${name}.proto`).holdfast.v1));
const insecure = grpc.credentials.createInsecure();

function soon() {
    return {deadline: Date.now() + WAIT_MS};
}

// The answer of a unary method, or its error.
function ask(client, method, request, metadata = new grpc.Metadata(), options = soon()) {
    return new Promise((resolve, reject) => {
        client[method](request, metadata, options, (error, answer) => error ? reject(error) : resolve(answer));
    });
}

// All messages of a stream, or its error.
function gather(stream) {
    return new Promise((resolve, reject) => {
        const found = [];
        stream.on('data', (message) => found.push(message));
        stream.on('error', reject);
        stream.on('end', () => resolve(found));
    });
}

async function refused(code, promise) {
    const error = await promise.then(() => assert.fail('was not refused'), (caught) => caught);
    assert.strictEqual(error.code, code, error.message);
    return error;
}

const probeCases = {
    async 'a unary call brings its message and its metadata back'(probe) {
        const metadata = new grpc.Metadata();
        metadata.set('x-probe-text', 'so it is');
        metadata.set('x-probe-bin', Buffer.from([0, 1, 254, 255]));
        metadata.set('x-trailer-text', 'at the end');
        const seen = {};
        const answer = await new Promise((resolve, reject) => {
            const call = probe.Echo({text: 'grüße', numbers: [1, 2, 4294967295]}, metadata, soon(),
                (error, message) => { seen.answer = message; if (error) reject(error); });
            call.on('metadata', (head) => { seen.head = head; });
            call.on('status', (status) => { seen.status = status; resolve(seen.answer); });
        });
        assert.strictEqual(answer.text, 'grüße');
        assert.deepStrictEqual(answer.numbers, [1, 2, 4294967295]);
        assert.deepStrictEqual(seen.head.get('x-probe-text'), ['so it is']);
        assert.deepStrictEqual([...seen.head.get('x-probe-bin')[0]], [0, 1, 254, 255]);
        assert.deepStrictEqual(seen.status.metadata.get('x-trailer-text'), ['at the end']);
    },
    async 'a server streams'(probe) {
        const notes = await gather(probe.Count({count: 2000, size: 1000}, soon()));
        assert.strictEqual(notes.length, 2000);
        assert.ok(notes.every((note) => note.data.length === 1000));
    },
    async 'a client streams'(probe) {
        const sum = await new Promise((resolve, reject) => {
            const call = probe.Sum(new grpc.Metadata(), soon(), (error, answer) => error ? reject(error) : resolve(answer));
            for (let i = 0; i < 1000; i++)
                call.write({data: Buffer.alloc(700)});
            call.end();
        });
        assert.deepStrictEqual([sum.count, sum.bytes], ['1000', '700000']);
    },
    async 'both sides stream'(probe) {
        const call = probe.Chat(soon());
        const answers = gather(call);
        for (let i = 0; i < 500; i++)
            call.write({text: String(i)});
        call.end();
        assert.deepStrictEqual((await answers).map((note) => note.text), [...Array(500).keys()].map(String));
    },
    async 'each message of a conversation is answered before the next is sent'(probe) {
        const call = probe.Chat(soon());
        for (let i = 0; i < 50; i++) {
            call.write({text: `turn ${i}`});
            const [answer] = await once(call, 'data');
            assert.strictEqual(answer.text, `turn ${i}`);
        }
        call.end();
        await once(call, 'end');
    },
    async 'a deadline ends the waiting'(probe) {
        await refused(grpc.status.DEADLINE_EXCEEDED, ask(probe, 'Sleep', {milliseconds: 600000}, undefined, {deadline: Date.now() + 50}));
    },
    async 'a cancelled unary call is over, and its connection serves the next'(probe) {
        const cancelled = new Promise((resolve) => {
            const call = probe.Sleep({milliseconds: 600000}, new grpc.Metadata(), soon(), (error) => resolve(error.code));
            setImmediate(() => call.cancel());
        });
        assert.strictEqual(await cancelled, grpc.status.CANCELLED);
        assert.strictEqual((await ask(probe, 'Echo', {text: 'still here'})).text, 'still here');
    },
    async 'a cancelled stream is over, and its connection serves the next'(probe) {
        const call = probe.Count({count: 4000000000, size: 1000}, soon());
        const ended = gather(call);
        call.once('data', () => call.cancel());
        await refused(grpc.status.CANCELLED, ended);
        assert.strictEqual((await ask(probe, 'Echo', {text: 'still here'})).text, 'still here');
    },
    async 'a status brings its code, its message and its details'(probe) {
        const error = await refused(grpc.status.ABORTED, ask(probe, 'Fail', {code: 10, message: 'täglich 100 % \n', details: true}));
        assert.strictEqual(error.details, 'täglich 100 % \n');
        assert.strictEqual(error.metadata.get('grpc-status-details-bin').length, 1);
    },
    async 'a method that is declared only is unimplemented'(probe) {
        await refused(grpc.status.UNIMPLEMENTED, ask(probe, 'Missing', {}));
    },
    async 'a message that is too large is refused'(probe) {
        await refused(grpc.status.RESOURCE_EXHAUSTED, ask(probe, 'Echo', {data: Buffer.alloc(5 << 20)}));
        assert.strictEqual((await ask(probe, 'Echo', {data: Buffer.alloc(3 << 20)})).data.length, 3 << 20);
    },
    async 'more calls at once than a connection has streams'(probe) {
        const answers = await Promise.all([...Array(1000).keys()].map((i) => ask(probe, 'Echo', {text: String(i)})));
        assert.deepStrictEqual(answers.map((note) => note.text), [...Array(1000).keys()].map(String));
    },
    async 'messages are compressed both ways'() {
        const probe = new Probe(probeAddress, insecure, {'grpc.default_compression_algorithm': 2});
        const answer = await ask(probe, 'Echo', {text: 'again and '.repeat(10000)});
        assert.strictEqual(answer.text, 'again and '.repeat(10000));
        probe.close();
    },
};

const shopCases = {
    async 'a shop sets up its stock'() {
        await ask(shop.catalog, 'PutSku', {sku: 'pear', name: 'A pear'});
        await ask(shop.catalog, 'DefineLocation', {location: 1, name: 'Here'});
        await ask(shop.inventory, 'Receive', {sku: 'pear', location: 1, quantity: 1000});
        assert.strictEqual((await ask(shop.inventory, 'GetCell', {sku: 'pear', location: 1})).available, '1000');
    },
    async 'an order is placed, repeated, settled, shipped and read'() {
        const request = {customer: '7', channel: 'WEB', lines: [{sku: 'pear', location: 1, quantity: 3, unitPrice: '250'}]};
        const placed = await ask(shop.orders, 'PlaceOrder', request);
        assert.strictEqual(placed.receipt.durable, true);
        const again = await ask(shop.orders, 'PlaceOrder', {...request, id: placed.id});
        assert.deepStrictEqual([again.id, again.receipt.repeated], [placed.id, true]);
        await ask(shop.orders, 'SettleOrder', {id: placed.id, amount: '750', currency: 'EUR', paymentReference: 'pi_7'});
        await ask(shop.orders, 'ShipOrder', {id: placed.id});
        const order = await ask(shop.orders, 'GetOrder', {id: placed.id});
        assert.deepStrictEqual([order.state, order.fulfilment], ['ORDER_STATE_CLOSED', 'FULFILMENT_STATE_SHIPPED']);
        assert.strictEqual(order.lines[0].shipped, 3);
    },
    async 'a place that is short says so in its details'() {
        const lines = [{sku: 'pear', location: 1, quantity: 100000, unitPrice: '1'}];
        const error = await refused(grpc.status.FAILED_PRECONDITION, ask(shop.orders, 'PlaceOrder', {customer: '7', lines}));
        const details = error.metadata.get('grpc-status-details-bin')[0].toString('latin1');
        assert.ok(details.includes('SHORT') && details.includes('holdfast.v1.Shortage'), details);
    },
    async 'what is held is what was granted'() {
        const before = BigInt((await ask(shop.inventory, 'GetCell', {sku: 'pear', location: 1})).available);
        const request = {customer: '8', lines: [{sku: 'pear', location: 1, quantity: 2, unitPrice: '1'}]};
        const placed = await Promise.all([...Array(300).keys()].map(() => ask(shop.orders, 'PlaceOrder', request)));
        assert.strictEqual(new Set(placed.map((order) => order.id)).size, 300);
        const after = BigInt((await ask(shop.inventory, 'GetCell', {sku: 'pear', location: 1})).available);
        assert.strictEqual(before - after, 600n);
    },
    async 'a call that was cancelled leaves orders whole'() {
        const request = {customer: '9', lines: [{sku: 'pear', location: 1, quantity: 1, unitPrice: '1'}]};
        await Promise.all([...Array(50).keys()].map(() => new Promise((resolve) => {
            const call = shop.orders.PlaceOrder(request, new grpc.Metadata(), soon(), resolve);
            setImmediate(() => call.cancel());
        })));
        assert.strictEqual((await ask(shop.admin, 'Audit', {})).violations, '0');
    },
    async 'the engine tells what it is'() {
        assert.strictEqual((await ask(shop.admin, 'Digest', {})).digest.length > 0, true);
    },
};

async function main() {
    let good = true;
    async function run(cases, client) {
        for (const [name, body] of Object.entries(cases)) {
            try {
                await body(client);
                console.log(`ok ${name}`);
            } catch (error) {
                good = false;
                console.log(`not ok ${name}: ${String(error.message).split('\n').join(' | ')}`);
            }
        }
    }
    const probe = new Probe(probeAddress, insecure);
    await run(probeCases, probe);
    probe.close();
    const {Catalog, Inventory, Orders, Admin} = shop;
    Object.assign(shop, {catalog: new Catalog(holdfastAddress, insecure), inventory: new Inventory(holdfastAddress, insecure),
        orders: new Orders(holdfastAddress, insecure), admin: new Admin(holdfastAddress, insecure)});
    await run(shopCases, shop);
    process.exit(good ? 0 : 1);
}

main();
