"""A folder of TypeScript, judged by tsc with the types of one version of node-ipc."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from interop.install import Peer

__all__ = ["Project"]

STRICT = {
    "strict": True,
    "noUncheckedIndexedAccess": True,
    "exactOptionalPropertyTypes": True,
    "noImplicitReturns": True,
    "erasableSyntaxOnly": True,  # so that Node runs it as it stands
    "target": "es2022",
    "module": "nodenext",
    "moduleResolution": "nodenext",
    "esModuleInterop": True,
    "types": ["node"],
}


class Project:
    """A folder with TypeScript in it."""

    def __init__(self, folder: Path, tools: Path, peers: dict[str, Peer]) -> None:
        self.folder = folder
        self._tools = tools
        self._peers = peers
        self.write("package.json", '{"type": "module"}')

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, "utf-8")

    def compile(self, version: str, *files: str, **options: Any) -> str:
        """What tsc has to say; nothing where all is well. ``version`` is of node-ipc."""
        given: dict[str, Any] = {**STRICT, "noEmit": True, "typeRoots": [str(self._tools / "@types")], **options}
        if version == "v9":
            given["paths"] = {"node-ipc": [str(self._tools / "@types/node-ipc/index.d.ts")]}
        else:  # it has no types of its own: tsc reads them off its source
            source = self._peers[version].folder / "node_modules/node-ipc/node-ipc.js"
            given |= {"paths": {"node-ipc": [str(source)]}, "allowJs": True, "maxNodeModuleJsDepth": 2}
        self.write("tsconfig.json", json.dumps({"compilerOptions": given, "files": files}))
        command = ["node", str(self._tools / "typescript/bin/tsc"), "-p", str(self.folder)]
        return subprocess.run(command, capture_output=True, text=True, timeout=110).stdout
