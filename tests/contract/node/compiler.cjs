// TypeScript's compiler, told on each line of its input the folder of a project (as JSON), and answering with a line of
// what tsc prints of it. What npm has installed is parsed once for all of them, and is not judged. An empty line ends it:
// its input may be held open by a copy of its other end.
"use strict";
const readline = require("node:readline");
const ts = require(process.argv[2]);

const parsed = new Map();
const isInstalled = (name) => name.includes("/node_modules/");

function hostOf(options) {
  const host = ts.createCompilerHost(options);
  const read = host.getSourceFile;
  host.getSourceFile = (name, settings, ...rest) => {
    if (!isInstalled(name)) return read(name, settings, ...rest);
    const key = JSON.stringify([name, settings, options.allowJs]);
    if (!parsed.has(key)) parsed.set(key, read(name, settings, ...rest));
    return parsed.get(key);
  };
  return host;
}

function complaints(folder) {
  const refuse = ({ messageText }) => { throw new Error(ts.flattenDiagnosticMessageText(messageText, "\n")); };
  const { fileNames, options, errors } = ts.getParsedCommandLineOfConfigFile(
    `${folder}/tsconfig.json`, {}, { ...ts.sys, onUnRecoverableConfigFileDiagnostic: refuse });
  const host = hostOf(options);
  const program = ts.createProgram({ rootNames: fileNames, options, host });
  const found = [...errors, ...program.getOptionsDiagnostics(), ...program.getGlobalDiagnostics()];
  for (const file of program.getSourceFiles().filter(({ fileName }) => !isInstalled(fileName))) {
    found.push(...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file));
  }
  if (!options.noEmit && found.length === 0) found.push(...program.emit().diagnostics);
  return ts.formatDiagnostics(ts.sortAndDeduplicateDiagnostics(found), host);
}

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  if (line === "") process.exit();
  process.stdout.write(`${JSON.stringify(complaints(JSON.parse(line)))}\n`);
});
