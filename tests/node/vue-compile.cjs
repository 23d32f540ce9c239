// Compiles a single-file component of Vue to a module: node vue-compile.cjs Checkout.vue Checkout.ts

const {compileScript, parse} = require("@vue/compiler-sfc");
const {readFileSync, writeFileSync} = require("fs");

const [source, target] = process.argv.slice(2);
const {descriptor, errors} = parse(readFileSync(source, "utf8"), {filename: source});
if (errors.length) throw errors[0];
const compilerOptions = {isCustomElement: (tag) => tag === "octo-payment"};
const {content} = compileScript(descriptor, {id: "checkout", inlineTemplate: true, templateOptions: {compilerOptions}});
writeFileSync(target, content);
