// Only read by tsc: what fits compiles, what does not is refused on the line below each @ts-expect-error.
import nodeIpc from "node-ipc";
import type { Order, Page_Order, Row, Tree, WorldIPC } from "./world.js";
import { World, WorldError } from "./world-client.js";

const ipc = nodeIpc as unknown as WorldIPC;

ipc.connectTo("world", () => {
  const { world } = ipc.of;
  const order: Order = { itemName: "tea", tags: ["a"], shape: { type: "circle", radius: 1 }, size: 42 };
  const tree: Tree = { label: "a", below: [{ label: "b" }] };
  const row: Row = ["row", "key", null];
  world.on("connect", () => {
    world.emit("order", order);
    world.emit("tree", tree);
    world.emit("row", row);
    world.emit("row", ["row", "key"]);
    world.emit("ping");
    world.emit("ping", { any: "thing" });
    world.emit("odd name/with ~ and \"quotes\"", null);
    world.emit("rpc.request", { jsonrpc: "2.0", id: 1, method: "add", params: { a: 1, b: 2 } });
  });
  world.on("done", (page) => {
    const items: Order[] = page.items;
    const next: number | null | undefined = page.next;
    return [items, next];
  });
  world.on("moved", ([x, y]) => [x.toFixed(), y?.toFixed()]);
  world.on("error", (error) => error);
  world.on("rpc.response", (response) => response.error?.code.toFixed());

  // @ts-expect-error there is no such event
  world.emit("ordr", order);
  // @ts-expect-error a text is wanted
  world.emit("order", { itemName: 5 });
  // @ts-expect-error the item is missing
  world.emit("order", {});
  // @ts-expect-error there is no such member
  world.emit("order", { itemName: "", item_name: "" });
  // @ts-expect-error there is no such shape
  world.emit("order", { itemName: "", shape: { type: "triangle", radius: 1 } });
  // @ts-expect-error not one of the sizes
  world.emit("order", { itemName: "", size: "xl" });
  // @ts-expect-error the server does not send it
  world.on("order", () => {});
  // @ts-expect-error clients do not send it
  world.emit("done", { items: [] });
  // @ts-expect-error b is missing
  world.emit("rpc.request", { jsonrpc: "2.0", id: 1, method: "add", params: { a: 1 } });
  // @ts-expect-error there is no such client
  ipc.of.moon;

  const client = new World(world);
  client.on("done", (page) => page.items.map((each) => each.itemName));
  client.emit("order", order);
  client.emit("ping");
  client.request("add", { a: 1, b: 2 }).then((sum) => sum.toFixed());
  client.request("page", [[1], [2, 3]], 100).then((page) => page.items[0]?.toFixed());
  client.request("free").catch((error) => error instanceof WorldError && error.code);
  // @ts-expect-error there is no such method
  client.request("sub", { a: 1, b: 2 });
  // @ts-expect-error params are missing
  client.request("add");
  // @ts-expect-error the answer is a number
  client.request("add", { a: 1, b: 2 }).then((sum) => sum.length);
  // @ts-expect-error a payload is missing
  client.emit("order");
  // @ts-expect-error the server asks for nothing
  client.handle("confirm", () => true);
});

ipc.serve(() => {
  const page: Page_Order = { items: [] };
  ipc.server.on("order", (order, socket) => {
    order.itemName.length;
    ipc.server.emit(socket, "done", page);
    ipc.server.broadcast("done", page);
    ipc.server.emit(socket, "rpc.response", { jsonrpc: "2.0", id: 1, result: 3 });
    // @ts-expect-error a number is no item
    ipc.server.broadcast("done", { items: [1] });
    // @ts-expect-error the socket comes first
    ipc.server.emit("done", page);
  });
  ipc.server.on("rpc.request", (request, socket) => {
    if (request.method === "add") request.params.a.toFixed();
  });
});
ipc.server.start();
