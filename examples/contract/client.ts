// Orders from the shop over npm's node-ipc. The types are those of shop.py: `node-ipc contract` made shop.ts of them.
import ipc from "node-ipc";
import { Shop, ShopError } from "./shop.js";
import type { Order } from "./shop.js";

ipc.config.id = "customer";
ipc.config.silent = true;
ipc.config.socketRoot = process.env.SOCKET_ROOT ?? "/tmp/";

ipc.connectTo("shop", () => {
  const link = ipc.of.shop!;
  const shop = new Shop(link);
  const order: Order = { lines: [{ item: "tea", count: 2 }, { item: "cup" }], delivery: "pickup" };

  shop.on("confirmed", ({ number, price }) => {
    console.log(`order ${number} costs ${price.toFixed(2)}`);
    ipc.disconnect("shop");
  });

  link.on("connect", async () => {
    console.log("tea costs", await shop.request("price", "tea"));
    console.log("gold costs", await shop.request("price", "gold"));
    const wrong = { item: "tea" } as unknown as string; // what a cast hides, the shop refuses
    await shop.request("price", wrong).catch((error: ShopError) => console.log("refused:", error.code));
    shop.emit("order", order);
  });
});
