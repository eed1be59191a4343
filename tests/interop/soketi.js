// soketi, which ends with the test run however that ends: its standard input
// is closed then.

"use strict";

process.stdin.resume().on("end", () => process.exit());
require("./node_modules/@soketi/soketi/bin/server.js");
