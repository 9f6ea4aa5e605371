#!/bin/sh
# What a continuous integration runs. It fails where the committed files are not what shop.py says (a diff shows it),
# and where client.ts does not fit them.
set -e
cd "$(dirname "$0")"
node-ipc contract shop:register --name shop \
    --typescript shop.ts --asyncapi shop.asyncapi.json --html shop.html --check
npm ci --ignore-scripts --no-audit --no-fund
npx --no-install tsc
