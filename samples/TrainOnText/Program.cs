// From a folder of text to a model that writes, in the working folder: TrainOnText [TEXTS] [STEPS]
using System.Globalization;
using Varlen.Data;
using Varlen.Generation;
using Varlen.Models;
using Varlen.Text;
using Varlen.Training;

string texts = args.ElementAtOrDefault(0) ?? "texts";
int steps = int.Parse(args.ElementAtOrDefault(1) ?? "300", CultureInfo.InvariantCulture);

var tokenizer = new ByteTokenizer();
TextCorpus.Tokenize([texts], tokenizer, "tokens.bin");                       // a document is a file, or a record of a .jsonl file
using TokenStore store = TokenStore.Open("tokens.bin");
SequencePlan plan = SequencePlan.Create(store, context: 128, seed: 1);       // long documents cut, 5 % held out, nothing dropped
using var loader = new PackedLoader(store, plan, new LoaderOptions { BatchTokens = 1024 });
using var model = new Gpt2Model(Gpt2Config.Tiny, seed: 1);                   // 0.86 million parameters
using var trainer = new Trainer(model, loader, new TrainerOptions { Steps = steps, LearningRate = 1e-3 });
while (trainer.StepCount < steps) Console.WriteLine($"step {trainer.StepCount + 1}, loss {trainer.Step().Loss:F3}");
Console.WriteLine($"held-out text: {new Evaluator(model, tokenizer).Run(store, plan, batchTokens: 1024).BitsPerByte:F2} bits a byte");
model.SavePretrained("model");                                               // with the names that transformers reads
tokenizer.Save("model/tokenizer.json");
Console.WriteLine(tokenizer.Decode(new TextGenerator(model, tokenizer).Generate([tokenizer.EndOfText])));
