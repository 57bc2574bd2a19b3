// Echoes WebSocket messages with npm's `ws` (Debian: node-ws), without compression.
//
// A peer of `linerate serve --role ws`: prints the URL to give to `linerate run ws`. Debian's package is found with
// NODE_PATH=/usr/share/nodejs.

const { WebSocketServer } = require("ws");

const options = { host: "127.0.0.1", port: Number(process.argv[2] || 0), backlog: 4096, perMessageDeflate: false };
const server = new WebSocketServer(options, () => console.log(`ws://127.0.0.1:${server.address().port}`));
server.on("connection", (socket) => {
  socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
});
