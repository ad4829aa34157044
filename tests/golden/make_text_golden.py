"""Writes what text_test.cpp and tokenizer_test.cpp read: text.json and tokenizer_*.json, with Hugging Face's tokenizers,
tiktoken and Python's unicodedata.

Usage: python3 tests/golden/make_text_golden.py DATA  (needs tokenizers 0.23 and tiktoken 0.12; DATA has gpt2/encoder.json,
gpt2/vocab.bpe and bert/vocab.txt, of which nothing but ids is written)
"""
import json
import pathlib
import random
import sys
import unicodedata

import tiktoken
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = pathlib.Path(__file__).parent
DATA = pathlib.Path(sys.argv[1])

PATTERNS = {
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "cl100k": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
              r"\s+(?!\S)|\s+",
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
             r"\s+(?!\S)|\s+",
    "o200k": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
             r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
             r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}
TEXTS = [
    "", " ", "a", "Hello, world!", "I'm sure they'll say we've won; he'd isn't 'tis o'clock 's 'S I'LL",
    "  two  spaces   three\t\ttabs \n\n  lines\r\n  end  ", "1234567890 3.14 1,000 ٣٤٥ ½ ² Ⅷ", "naïve café Ångström e\u0301 n\u0303",
    "中文字符和English混排 日本語テキスト 한국어", "👍🏽 👨‍👩‍👧‍👦 🇩🇪 ❤️ emoji😀text", "\u00a0no-break\u2003em\u3000ideographic\u2028line\u200bzero",
    "control\x00\x07\x1b[0m\x7f\x85 and\x1cseparators", "Straße ŞİŞLİ ΑΒΓ ΟΔΟΣ ǅ ﬁne ＡＢＣ", "x = a->b[i++] % 7; // C++ \\n \"quoted\"",
    "https://example.org/a?b=c&d=%20#e", "snake_case camelCase XMLHttpRequest iPhone15Pro", "हिन्दी ภาษาไทย العربية עברית",
    "a'ſb a'Sb A'LL'Re", "antidisestablishmentarianism " * 3, "z" * 101 + " " + "y" * 100, "<|endoftext|>[CLS] [MASK]x[SEP]",
]
POOL = (list("aAbzZ'stmdlrev  \n\r\t.,!?-_/()09") + ["é", "ß", "ſ", "Σ", "ς", "İ", "ǅ", "ʰ", "\u0301", "\u0323", "\u093e", "中", "ア",
        "한", "ا", "א", "٣", "Ⅷ", "½", "😀", "👍", "\u200d", "\ufe0f", "\u00a0", "\u2003", "\u3000", "\u2028", "\x85", "\x0b", "\x1c", "\x00",
        "\ufeff", "\u00ad", "«", "»", "€", "§", "، ", "。", "n't", "'ll", "'RE", "  ", "\n\n", "\r\n"])


def random_texts(count, seed):
    draw = random.Random(seed)
    return ["".join(draw.choice(POOL) for _ in range(draw.randint(1, 24))) for _ in range(count)]


def byte_pair_model():
    """GPT-2 by its files, in both libraries."""
    encoder = json.loads((DATA / "gpt2/encoder.json").read_text(encoding="utf-8"))
    merges = [tuple(line.split(" ")) for line in (DATA / "gpt2/vocab.bpe").read_text(encoding="utf-8").split("\n")[1:-1]]
    model = Tokenizer(models.BPE(encoder, merges))
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = decoders.ByteLevel()
    model.add_special_tokens([AddedToken("<|endoftext|>", special=True)])
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spelling = {chr(byte): byte for byte in printable}
    for i, byte in enumerate(sorted(set(range(256)) - set(printable))):
        spelling[chr(256 + i)] = byte
    ranks = {bytes(spelling[c] for c in token): id for token, id in encoder.items() if token != "<|endoftext|>"}
    second = tiktoken.Encoding("gpt2", pat_str=PATTERNS["gpt2"], mergeable_ranks=ranks, special_tokens={"<|endoftext|>": 50256})
    return model, second


def gpt2():
    model, second = byte_pair_model()
    cases = []
    for text in TEXTS + random_texts(60, 1):
        ids = model.encode(text).ids
        assert ids == second.encode(text, allowed_special="all"), text
        assert model.decode(ids, skip_special_tokens=False) == text
        cases.append({"text": text, "ids": ids})
    return cases


def bert():
    cases = []
    for lower in (True, False):
        model = Tokenizer(models.WordPiece.from_file(str(DATA / "bert/vocab.txt"), unk_token="[UNK]"))
        model.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
        model.normalizer = normalizers.BertNormalizer(lowercase=lower)
        model.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        model.post_processor = processors.BertProcessing(("[SEP]", 102), ("[CLS]", 101))
        model.decoder = decoders.WordPiece()
        for text in TEXTS + random_texts(30, 2):
            ids = model.encode(text).ids
            cases.append({"lower": lower, "text": text, "ids": ids, "decoded": model.decode(ids)})
        for first, second in zip(TEXTS[3:8], TEXTS[8:13]):
            for most in (0, 9, 12):
                if most:
                    model.enable_truncation(most)
                both = model.encode(first, second)
                model.no_truncation()
                cases.append({"lower": lower, "text": first, "second": second, "most": most, "ids": both.ids, "types": both.type_ids})
    return cases


def patterns():
    cases = []
    for name, pattern in PATTERNS.items():
        splitter = pre_tokenizers.Split(Regex(pattern), "isolated")
        for text in TEXTS + random_texts(50, 3):
            cases.append({"pattern": name, "text": text, "pieces": [piece for piece, _ in splitter.pre_tokenize_str(text)]})
    for name, part in [("bert", pre_tokenizers.BertPreTokenizer()), ("digits", pre_tokenizers.Digits()),
                       ("single_digits", pre_tokenizers.Digits(individual_digits=True)), ("spaces", pre_tokenizers.WhitespaceSplit())]:
        for text in TEXTS + random_texts(20, 4):
            cases.append({"pattern": name, "text": text, "pieces": [piece for piece, _ in part.pre_tokenize_str(text)]})
    return cases


def forms():
    cases = []
    for text in TEXTS + ["\ufdfa", "각", "\u1100\u1161\u11a8", "a\u0323\u0301", "a\u0301\u0323", "\u0344", "\u0958", "ﬀ ² Å ｶﾞ"] + random_texts(25, 5):
        lower = normalizers.Lowercase().normalize_str(text)
        stripped = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()]).normalize_str(text)
        cases.append({"text": text, "lower": lower, "stripped": stripped,
                      **{form.lower(): unicodedata.normalize(form, text) for form in ("NFC", "NFD", "NFKC", "NFKD")}})
    return cases


STORY = ["The little lighthouse stood where the land ended. Every evening the keeper climbed the stairs, lit the lamp and "
         "wrote the weather down: wind, waves, and whatever he'd seen.", "he'd seen the ships, the ships' sails, the gulls;",
         "der Leuchtturm, die Wärter, das Öl, 灯台守は灯をともす。灯台 灯台", "aaaaaaaa aaaa aaa bbbb abab ababab 1234 12 123 1212",
         "  indented\n\n  lines\n    of text\n"] * 2
SHORT = ["the lighthouse keeper's lamp", "灯台 unknown ёж 😀", "  \n aaaaab", "", "<|endoftext|>he'd"]


def encodings(model):
    return [{"text": text, "ids": model.encode(text).ids} for text in SHORT + TEXTS[:13]]


def trained():
    model = Tokenizer(models.BPE())
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = decoders.ByteLevel()
    model.train_from_iterator(STORY, trainers.BpeTrainer(vocab_size=400, min_frequency=2, special_tokens=["<|endoftext|>"], show_progress=False,
                                                         initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    model.save(str(HERE / "tokenizer_gpt2.json"))
    cases = {"texts": STORY, "gpt2": encodings(model)}

    # As Llama 3's: another pattern, whole words first, a beginning of text, a normal form, tokens that take up spaces.
    other = Tokenizer(models.BPE(ignore_merges=True))
    other.normalizer = normalizers.NFC()
    other.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(PATTERNS["cl100k"]), "isolated"),
                                                   pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    other.decoder = decoders.ByteLevel()
    other.train_from_iterator(STORY, trainers.BpeTrainer(vocab_size=380, min_frequency=2, special_tokens=["<|begin|>", "<|endoftext|>"],
                                                         show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    other.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True), AddedToken("<sep>", rstrip=True, special=True)])
    other.add_tokens([AddedToken("é!", normalized=True)])
    other.post_processor = processors.Sequence([processors.ByteLevel(), processors.TemplateProcessing(
        single="<|begin|> $A", pair="<|begin|> $A <|endoftext|> $B:1", special_tokens=[("<|begin|>", 0), ("<|endoftext|>", 1)])])
    other.save(str(HERE / "tokenizer_llama.json"))
    extra = ["a  <mask> b <sep>  c<sep>\n<mask>", "cafe\u0301! é!"]
    cases["llama"] = encodings(other) + [{"text": text, "ids": other.encode(text).ids} for text in extra]

    # As RoBERTa's: a space in front.
    prefixed = Tokenizer.from_str(model.to_str())
    prefixed.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    prefixed.post_processor = processors.RobertaProcessing(("<|endoftext|>", 0), ("<|endoftext|>", 0))
    cases["roberta"] = encodings(prefixed)
    pair = prefixed.encode(SHORT[0], SHORT[1])
    cases["roberta_pair"] = {"ids": pair.ids, "types": pair.type_ids}

    pieces = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    pieces.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=True)
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    pieces.decoder = decoders.WordPiece()
    pieces.train_from_iterator(STORY, trainers.WordPieceTrainer(vocab_size=200, show_progress=False,
                                                                special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]))
    pieces.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
                                                          special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    pieces.save(str(HERE / "tokenizer_bert.json"))
    cases["bert"] = [{**case, "decoded": pieces.decode(case["ids"])} for case in encodings(pieces)]
    return cases


def main():
    golden = {"gpt2": gpt2(), "bert": bert(), "patterns": patterns(), "forms": forms(), "trained": trained()}
    text = json.dumps(golden, ensure_ascii=False, separators=(",", ":"))
    (HERE / "text.json").write_text(text.replace('{"text"', '\n{"text"').replace('{"pattern"', '\n{"pattern"') + "\n")


main()
