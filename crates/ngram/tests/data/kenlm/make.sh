#!/usr/bin/env bash
# Makes the files of this folder with KenLM itself (benches/peers/setup.sh installs it):
#
#   tests/data/kenlm/make.sh target/peers
#
# small.arpa       order 4, estimated by lmplz from the first lines of ../moby-dick-1-16.txt
# pruned.arpa      written by hand: n-grams whose suffixes were pruned, no <unk>
# *.probing, *.rest, *.trie, *.quant, *.array, *.both     the six kinds of binary of each
# expected.tsv     file, sentence, and KenLM's log10 and n-gram length of each word
set -euo pipefail
peers=$(cd "$1" && pwd)
cd "$(dirname "$0")"
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
head -3 ../moby-dick-1-16.txt | cut -d' ' -f1-90 >"$temporary/text"
for order in 1 2 3 4; do
  "$peers/bin/lmplz" -o $order -S 50M --discount_fallback <"$temporary/text" >"$temporary/$order.arpa" 2>/dev/null
done
cp "$temporary/4.arpa" small.arpa
for model in small pruned; do
  build() { "$peers/bin/build_binary" "$@" 2>/dev/null; }
  # pruned.arpa needs room for the suffixes that KenLM puts back.
  build -p $([ $model = pruned ] && echo 4 || echo 1.5) probing $model.arpa $model.probing
  build -s trie $model.arpa $model.trie
  build -q 5 -b 4 trie $model.arpa $model.quant
  build -a 22 trie $model.arpa $model.array
  build -q 6 -a 22 -v trie $model.arpa $model.both
done
"$peers/bin/build_binary" -r "$temporary/1.arpa $temporary/2.arpa $temporary/3.arpa" probing small.arpa small.rest 2>/dev/null
"$peers/venv/bin/python" - >expected.tsv <<'END'
import glob, kenlm
sentences = [
    "call me ishmael .",
    "call me anything but unheard of words , some years ago",
    "some years ago — never mind how long precisely",
    "",
    "the the the the the",
    "a b c d", "b c d", "x b c", "a b c", "c b a", "d a b c d unheard a b c",
]
for name in sorted(glob.glob("*")):
    if name.split(".")[-1] in ("arpa", "probing", "rest", "trie", "quant", "array", "both"):
        # Read directly, pruned.arpa has no room for what KenLM puts back.
        model = kenlm.Model("pruned.probing" if name == "pruned.arpa" else name)
        for sentence in sentences:
            scores = model.full_scores(sentence, bos=True, eos=True)
            print(name, sentence, " ".join(f"{p!r}:{n}" for p, n, _ in scores), sep="\t")
END
