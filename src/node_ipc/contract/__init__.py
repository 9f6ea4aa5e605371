"""Contracts: what a server and its clients say to each other, given out in the languages of others.

    describe(server)                           # let a server that is at work say it itself: rpc.describe
    contract = contract_of(register)           # a server, a client, an IPC, a function, a module, a document
    typescript(contract)                       # npm's node-ipc, typed for these events
    json_schema(contract)                      # JSON Schema 2020-12
    asyncapi(contract)                         # AsyncAPI 3
    html(contract)                             # a page for people
    python_of(document)                        # the other way: Structs and Events for an AsyncAPI document

The command ``node-ipc contract`` does the same with files, checks committed ones, and asks servers at work.
"""

from .asyncapi import asyncapi
from .collect import contract_of
from .describe import describe
from .model import Contract, ContractError, ContractWarning, Message, Method
from .page import html
from .python import python_of
from .schema import json_schema
from .typescript import typescript

__all__ = [
    "Contract",
    "ContractError",
    "ContractWarning",
    "Message",
    "Method",
    "asyncapi",
    "contract_of",
    "describe",
    "html",
    "json_schema",
    "python_of",
    "typescript",
]
