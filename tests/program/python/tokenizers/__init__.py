"""A stand-in for Hugging Face's tokenizers, as far as tools/make_tokens.py asks for it, so that the way of text into the
program is tested where that package is not: a token is a byte plus 256, or
plus "offset". tokenizer.json says {"vocab": N, "added": N, "bos": ID, "offset": N, "sleep": SECONDS}."""
import json
import os
import time
import types


class Tokenizer:
    def __init__(self, said):
        self.said = said

    @classmethod
    def from_file(cls, path):
        with open(path, encoding="utf-8") as f:
            said = json.load(f)
        if "vocab" not in said:
            raise Exception("no vocabulary\nat line 1")
        return cls(said)

    def no_padding(self):
        pass

    def no_truncation(self):
        pass

    def get_vocab(self, with_added_tokens=True):
        return {str(i): i for i in range(self.said["vocab"] + with_added_tokens * self.said.get("added", 0))}

    def id_to_token(self, id):
        return "<%d>" % id

    def encode_batch(self, texts, add_special_tokens=True):
        if self.said.get("sleep"):
            with open(os.environ["SLEEPER"], "w") as f:
                f.write(str(os.getpid()))
            time.sleep(self.said["sleep"])
        bos = [self.said["bos"]] if add_special_tokens and "bos" in self.said else []
        return [types.SimpleNamespace(ids=bos + [b + self.said.get("offset", 256) for b in text.encode()]) for text in texts]
