#!/usr/bin/env python3
"""The mutants of cargo-mutants, all in one build: hours of compiling become minutes.

    cargo install cargo-mutants
    python3 -m venv target/mutants && target/mutants/bin/pip install tree-sitter tree-sitter-rust
    target/mutants/bin/python tests/mutants.py              # all of .cargo/mutants.toml
    target/mutants/bin/python tests/mutants.py '^src/timers'

cargo-mutants builds and tests each mutant by itself. Here, it only lists them. A copy of the sources gets all of them side
by side, each behind `if the environment says so`: `match mutant() { 17 => a - b, _ => a + b }`. What does not compile is
taken out again, by the lines that the compiler complains of. Then the test programs run, once for each mutant, its module's
tests first. The last lines are a table; target/mutants/results.txt has a line for each mutant.

What cannot stand beside the code (constants, functions that return `impl Trait`, chains of `let`) is "apart" in that file:
it is for `cargo mutants --re`. "alone" stands where the unit tests and the simulated network, which are what
.cargo/mutants.toml runs, let a mutant pass, and only another file of tests/ caught it.
"""

import collections
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import tree_sitter
import tree_sitter_rust

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "target" / "mutants"
TREE = OUT / "tree"
SWITCH = """
mod mutants {
    static ID: std::sync::LazyLock<u32> =
        std::sync::LazyLock::new(|| std::env::var("MUTANT").map_or(u32::MAX, |id| id.parse().unwrap()));
    pub(crate) fn id() -> u32 { *ID }
}
"""
WHICH = "crate::mutants::id()"
BUILD = os.environ | {
    "CARGO_TARGET_DIR": str(OUT / "build"),
    "CARGO_PROFILE_DEV_OPT_LEVEL": "1",
    "CARGO_PROFILE_DEV_DEBUG": "none",
    "RUSTFLAGS": "--cap-lints allow",
}
# Those that look at the parts as values, then those on real sockets, for the loop's parts and for the codecs.
FIRST = ["lib", "simulation"]
LOOP = "limits channels lifecycle handlers outbound stats timers broadcast mid_batch panics".split()
CODECS = ["websocket", "http"]
PATIENCE = 60  # seconds: ten times what any of them takes where nothing is wrong
MEMORY = 6 << 30  # bytes of address space, since some mutants never stop growing


class Source:
    """One file, and where each of its mutants goes."""

    def __init__(self, name, mutants):
        self.data = (ROOT / name).read_bytes()
        self.root = tree_sitter.Parser(tree_sitter.Language(tree_sitter_rust.language())).parse(self.data).root_node
        self.edits = collections.defaultdict(list)  # (start, end, kind): [mutant]
        self.apart = [mutant for mutant in mutants if not self.place(mutant)]
        # Outer ones first; what goes in front of an expression, before that expression.
        self.order = sorted(self.edits, key=lambda edit: (edit[0], edit[2] != "body", -edit[1]))

    def offset(self, place):
        lines = self.data.split(b"\n")[: place["line"]]
        return sum(len(line) + 1 for line in lines[:-1]) + len(lines[-1].decode()[: place["column"] - 1].encode())

    def above(self, node, *kinds):
        while node is not None and node.type not in kinds:
            node = node.parent
        return node

    def place(self, mutant):
        """Whether it can stand beside the code."""
        start, end = (self.offset(mutant["span"][side]) for side in ("start", "end"))
        node = self.root.descendant_for_byte_range(start, max(start, end - 1))
        array = self.above(node, "array_expression")
        length = array and array.child_by_field_name("length")
        if self.above(node, "const_item", "static_item", "array_type") or (
            length and length.start_byte <= start < length.end_byte
        ):
            return False
        match mutant["genre"]:
            case "FnValue" if "impl " not in mutant["function"]["return_type"]:
                self.edits[start, start, "body"].append(mutant)
            case "BinaryOperator":
                whole = self.above(node, "binary_expression", "compound_assignment_expr", "let_chain")
                operator = whole and whole.child_by_field_name("operator")
                if not operator or (operator.start_byte, operator.end_byte) != (start, end):
                    return False
                self.edits[whole.start_byte, whole.end_byte, whole.type].append(mutant | {"at": (start, end)})
            case "UnaryOperator":
                whole = self.above(node, "unary_expression")
                self.edits[whole.start_byte, whole.end_byte, "unary"].append(mutant | {"at": (start, end)})
            case "MatchArmGuard":
                self.edits[start, end, "guard"].append(mutant)
            case "MatchArm":
                pattern = self.above(node, "match_arm").child_by_field_name("pattern")
                guard = pattern.child_by_field_name("condition")
                span = (guard.start_byte, guard.end_byte) if guard else (pattern.end_byte, pattern.end_byte)
                self.edits[*span, "arm"].append(mutant)
            case _:
                return False
        return True

    def text(self, start, end):
        return self.data[start:end].decode()

    def render(self, start, end, at):
        """The text of a span with the edits from number `at` on that lie in it, and the number of the next edit."""
        text = ""
        while at < len(self.order) and start <= self.order[at][0] and self.order[at][1] <= end:
            text += self.text(start, self.order[at][0])
            start = self.order[at][1]
            edited, at = self.render_edit(at)
            text += edited
        return text + self.text(start, end), at

    def render_edit(self, at):
        start, end, kind = self.order[at]
        mutants = self.edits[self.order[at]]

        def arms(mutated):
            return "".join(marked(mutant, f"{mutant['id']} => {mutated(mutant)},") for mutant in mutants)

        if kind == "body":
            return f"match {WHICH} {{{arms(lambda mutant: 'return ' + mutant['replacement'])} _ => {{}} }}\n", at + 1
        inner, after = self.render(start, end, at + 1)
        if kind == "arm":
            skipped = f"{WHICH} != {mutants[0]['id']}"
            return marked(mutants[0], f"{skipped} && ({inner})" if inner else f" if {skipped}"), after
        if kind == "guard":
            return f"(match {WHICH} {{{arms(lambda mutant: mutant['replacement'])} _ => {inner} }})", after

        def replaced(mutant):
            before, behind = mutant["at"]
            return "{" + self.text(start, before) + mutant["replacement"] + self.text(behind, end) + "}"

        return f"(match {WHICH} {{{arms(replaced)} _ => {{{inner}}} }})", after

    def mutated(self):
        text, at = self.render(0, len(self.data), 0)
        assert at == len(self.order), f"{self.order[at]} lies across another edit"
        return re.sub(r"\bconst fn\b", "fn", text)


def marked(mutant, text):
    """So that a complaint of the compiler's can be laid at a mutant's door."""
    return f"\n/*<{mutant['id']}*/{text}/*{mutant['id']}>*/\n"


def listed(pattern):
    command = ["cargo", "mutants", "--list", "--json"] + (["--re", pattern] if pattern else [])
    mutants = json.loads(subprocess.check_output(command, cwd=ROOT))
    for number, mutant in enumerate(mutants):
        mutant["id"] = number
    return mutants


def write_tree(mutants, unviable):
    """The copy of the sources with all mutants but those; the mutants that cannot be in it."""
    files = collections.defaultdict(list)
    for mutant in mutants:
        files[mutant["file"]] += [] if mutant["id"] in unviable else [mutant]
    apart = []
    for name, those in files.items():
        source = Source(name, those)
        apart += source.apart
        (TREE / name).write_text(source.mutated())
    (TREE / "src/lib.rs").write_text((ROOT / "src/lib.rs").read_text() + SWITCH)
    return apart


def blamed(message):
    """The mutants that a complaint of the compiler's is about."""
    for primary in (True, False):
        found = set()
        for span in message["spans"]:
            if span["is_primary"] != primary or not span["file_name"].startswith("src/"):
                continue
            lines, inside = (TREE / span["file_name"]).read_text().split("\n"), None
            for number, line in enumerate(lines, 1):
                begun = re.match(r"/\*<(\d+)\*/", line)
                inside = int(begun[1]) if begun else inside
                if inside is not None and span["line_start"] <= number <= span["line_end"] < span["line_start"] + 6:
                    found.add(inside)
                inside = None if re.search(r"/\*\d+>\*/$", line) else inside
        if found:
            return found
    return set()


def build(mutants):
    """The test programs by name, the unviable mutants, and those that have to be made apart."""
    shutil.rmtree(TREE, ignore_errors=True)
    shutil.copytree(ROOT, TREE, ignore=shutil.ignore_patterns("target", ".git"))
    command = ["cargo", "test", "--no-run", "--all-features", "--message-format=json", "--lib"]
    command += [word for name in FIRST[1:] + LOOP + CODECS for word in ("--test", name)]
    unviable = set()
    while True:
        apart = write_tree(mutants, unviable)
        run = subprocess.run(command, cwd=TREE, env=BUILD, capture_output=True, text=True)
        told = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
        if run.returncode == 0:
            programs = {made["target"]["name"]: made["executable"] for made in told if made.get("executable")}
            programs["lib"] = programs.pop("wheelhouse")
            return programs, unviable, apart
        errors = [it["message"] for it in told if it.get("message", {}).get("level") == "error"]
        blame = set().union(*map(blamed, errors)) - unviable
        if not blame:
            sys.exit(f"it does not compile, and no mutant is to blame:\n{run.stderr}")
        unviable |= blame
        print(f"{len(unviable)} do not compile", flush=True)


def fails(program, mutant, words):
    """How its tests fail under a mutant; `None` where they pass."""

    def limited():
        os.setsid()
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    environment = os.environ | {"MUTANT": str(mutant), "WHEELHOUSE_SCHEDULES": "2000", "PROPTEST_CASES": "64"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    run = subprocess.Popen([program, *words], cwd=TREE, env=environment, preexec_fn=limited, **quiet)
    try:
        return "failed" if run.wait(PATIENCE) else None
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, 9)
        run.wait()
        return "hung"


def verdict(mutant, programs):
    module = re.sub(r"^src/|(/mod)?\.rs$", "", mutant["file"]).replace("/", "::")
    others = CODECS if mutant["file"].startswith("src/codec") else LOOP
    for name, words in [("lib", [module]), *((name, []) for name in FIRST + others)]:
        how = fails(programs[name], mutant["id"], words)
        if how:
            return f"{how} in {name}" if name in FIRST else f"{how} in {name} alone"
    return "survived"


def main():
    pattern = next(iter(sys.argv[1:]), None)
    OUT.mkdir(parents=True, exist_ok=True)
    mutants = listed(pattern)
    print(f"{len(mutants)} mutants", flush=True)
    programs, unviable, apart = build(mutants)
    for name, program in programs.items():
        if how := fails(program, "4294967295", []):
            sys.exit(f"{name} {how} without a mutant")
    told = {mutant["id"]: "apart" for mutant in apart} | dict.fromkeys(unviable, "unviable")
    left = [mutant for mutant in mutants if mutant["id"] not in told]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, (mutant, how) in enumerate(zip(left, pool.map(lambda it: verdict(it, programs), left)), 1):
            told[mutant["id"]] = how
            print(f"\r{done} of {len(left)}", end="", flush=True)
            if how == "survived":
                print(f"\rsurvived: {mutant['name']}", flush=True)
    lines = [f"{told[mutant['id']]:<26} {mutant['name']}" for mutant in mutants]
    (OUT / "results.txt").write_text("\n".join(lines) + "\n")
    print("\n" + "\n".join(f"{count:6} {how}" for how, count in collections.Counter(told.values()).most_common()))


if __name__ == "__main__":
    main()
