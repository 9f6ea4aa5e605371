// Talks with a Python server over the real node-ipc, typed by what was made from it: program.js SOCKET_ROOT
import nodeIpc from "node-ipc";
import { World, WorldError } from "./world-client.js";
import type { Order } from "./world-client.js";

nodeIpc.config.silent = true;
nodeIpc.config.socketRoot = process.argv[2]!;
nodeIpc.config.id = "program";
nodeIpc.connectTo("world", async () => {
  const world = new World(nodeIpc.of.world as any);
  await new Promise<void>((resolve) => nodeIpc.of.world!.on("connect", resolve));
  const order: Order = { itemName: "tea", howMany: 2, shape: { type: "square", side: 3 } };
  const done = new Promise<Order[]>((resolve) => world.on("done", (page) => resolve(page.items)));
  world.emit("order", order);
  const [back] = await done;
  console.log("done", back!.itemName, back!.howMany, back!.color, JSON.stringify(back!.shape));
  console.log("add", await world.request("add", { a: 1, b: 2 }));
  console.log("page", JSON.stringify(await world.request("page", [[1, 2], [3]])));
  console.log("free", JSON.stringify(await world.request("free", { any: ["thing"] })));
  const wrong: any = { a: "one", b: 2 };
  await world.request("add", wrong).catch((error: WorldError) => console.log("refused", error.code, error.message));
  const all = await Promise.all(Array.from({ length: 1000 }, (_, n) => world.request("add", { a: n, b: n })));
  console.log("all", all.every((sum, n) => sum === 2 * n));
  await world.request("slow", undefined, 50).catch((error: WorldError) => console.log("late", error.message));
  await world.request("end", undefined).catch((error: WorldError) => console.log("lost", error.message));
  nodeIpc.disconnect("world");
});
