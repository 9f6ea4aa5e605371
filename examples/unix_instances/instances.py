"""Four independent instances in one process: a JSON server, a server of raw bytes, and a client of each.

Each has a configuration, clients and a server of its own. It ends by itself.
"""

import asyncio

from node_ipc import IPC, ipc, style

words, word_client = ipc, IPC()  # the shared instance is one like any other
numbers, number_client = IPC(), IPC()

words.config.id = "words"
numbers.config.id = "numbers"
for instance in (numbers, number_client):
    instance.config.raw_buffer = True
    instance.config.encoding = "hex"
for instance in (numbers, word_client, number_client):
    instance.config.silent = True


def words_started():
    @words.server.on("message")
    def message(data, socket):
        words.server.emit(socket, "message", f"{data} world!")


def numbers_started():
    @numbers.server.on("data")
    def received(data, socket):
        numbers.server.emit(socket, bytes(reversed(data)))


def connecting_to_words(client):
    client.of.words.emit("message", "hello")  # waits until the link is up

    @client.of.words.on("message")
    def message(data):
        words.log(style.debug("words answered :"), data)
        client.disconnect("words")


def connecting_to_numbers(client):
    client.of.numbers.emit([0x05, 0x6D, 0x5C])

    @client.of.numbers.on("data")
    def received(data):
        words.log(style.debug("numbers answered :"), data.hex(" "))
        client.disconnect("numbers")


async def main():
    words.serve(words_started)
    numbers.serve(numbers_started)
    await words.server.start()  # on a loop that runs, start and connect_to begin at once and can be awaited
    await numbers.server.start()

    to_words = await word_client.connect_to("words", connecting_to_words)
    to_numbers = await number_client.connect_to("numbers", connecting_to_numbers)
    await to_words.closed
    await to_numbers.closed

    await words.stop()
    await numbers.stop()


asyncio.run(main())
