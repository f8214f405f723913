#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
// ask.js VERSION-DIRECTORY QUESTION: prints the answer as it is made.
'use strict';
const fs = require('fs');
const path = require('path');

async function main(directory, question) {
  // Open for reading and writing: a conversation that belongs to this descriptor alone.
  const prompt = await fs.promises.open(path.join(directory, 'prompt'), 'r+');
  try {
    await prompt.write(question);
    const piece = Buffer.alloc(65536);
    for (;;) {
      const { bytesRead } = await prompt.read(piece, 0, piece.length, null);
      if (bytesRead === 0) break;
      process.stdout.write(piece.subarray(0, bytesRead));
    }
  } finally {
    await prompt.close();
  }
}

main(process.argv[2], process.argv[3]).catch((error) => {
  console.error(error.message);
  process.exit(1);
});
