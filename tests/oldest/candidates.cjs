// The candidates that ONNX Runtime 1.10 finds: MODEL FRAME HEIGHT WIDTH -> JSON on the last line of stdout.
const fs = require("fs");
const ort = require("onnxruntime-node");

const [model, frame, height, width] = process.argv.slice(2);
const pixels = new ort.Tensor("uint8", new Uint8Array(fs.readFileSync(frame)), [1, Number(height), Number(width), 3]);

ort.InferenceSession.create(model)
  .then((session) => session.run({ images: pixels }))
  .then((found) => {
    const lists = Object.entries(found).map(([name, tensor]) => [name, Array.from(tensor.data, Number)]);
    console.log(JSON.stringify(Object.fromEntries(lists)));
  })
  .catch((error) => {
    console.error(String(error));
    process.exitCode = 1;
  });
