"""What language models write around a list, form by form: the list is taken, and nothing else."""

from __future__ import annotations

import json
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlcls.llm.answers import AnswerError, parse_answer
from vlcls.llm.thinking import without_thinking

GOOD = ["orange fur", "black stripes"]
BULLETS = "- orange fur\n- black stripes"
OBJECT = '{"class": "tiger", "descriptors": ["orange fur", "black stripes"]}'

#: A name of each form, and the form itself: all of them say GOOD. First those with thinking ...
THINKING: dict[str, str] = {
    "bullets in <think>": f"<think>\nWhat would one see?\n- no habitat\n</think>\n\n{BULLETS}",
    "JSON drafts in <think>": f'<think>Draft: {{"descriptors": ["x y", "z"]}}</think>\n{OBJECT}',
    "brackets in <think>": f"<think>Parts [head, body].</think>\n{OBJECT}",
    "<thinking>": f"<thinking>\n1. fur?\n</thinking>\n{BULLETS}",
    "<thought>": f"<thought>- no</thought>\n{BULLETS}",
    "<reasoning>": f"<reasoning>- no</reasoning>\n{OBJECT}",
    "<REASONING> with a blank": f"<REASONING >\n- no\n</ REASONING>\n{BULLETS}",
    "<think> with an attribute": f'<think effort="high">- no</think>\n{BULLETS}',
    "<seed:think>": f"<seed:think>- no</seed:think>{BULLETS}",
    "<scratchpad> and <answer>": f"<scratchpad>- no</scratchpad><answer>\n{BULLETS}\n</answer>",
    "[THINK]": f"[THINK]- no[/THINK]{BULLETS}",
    "triangles": f"\u25c1think\u25b7- no\n- no\u25c1/think\u25b7{BULLETS}",
    "<|begin_of_thought|>": "<|begin_of_thought|>\n- no\n<|end_of_thought|>\n<|begin_of_solution|>\n"
    f"{BULLETS}\n<|end_of_solution|>",
    "<|START_THINKING|>": "<|START_THINKING|>- no<|END_THINKING|><|START_RESPONSE|>"
    f"{BULLETS}<|END_RESPONSE|>",
    "channels": "<|channel|>analysis<|message|>- no<|end|><|start|>assistant<|channel|>final<|message|>"
    f"{OBJECT}<|return|>",
    "channel of another family": f"<|channel>thought\n- no\n<channel|>{BULLETS}",
    "<unused94>": f"<unused94>thought\n- no<unused95>{BULLETS}",
    "a lone </think>": f"The fur:\n- no\n- not this\n</think>\n\n{BULLETS}",
    "a lone </think> behind JSON": f'{{"descriptors": ["no"]}}\n</think>\n{OBJECT}',
    "<think> within <think>": f"<think>I use <think> here. - no\n</think>\n{BULLETS}",
    "thinking behind the list": f"{BULLETS}\n<think>\n- is that all?\n</think>",
    "an empty <think>": f"<think>\n\n</think>\n\n{BULLETS}",
    "an unknown element": f"<ponder>- no</ponder>\n{BULLETS}",
    "escaped tags": f"&lt;think&gt;- no&lt;/think&gt;\n{BULLETS}",
    "fenced thinking": f"```thinking\n- no\n```\n{BULLETS}",
    "folded thinking": "<details type='reasoning'>\n<summary>Thought for 2 s</summary>\n- no\n</details>\n"
    f"{BULLETS}",
    "a section of thinking": f"## Reasoning\n- must be visible\n- no habitat\n\n## Answer\n{BULLETS}",
    "bold sections of thinking": "**Thinking Process:**\n\n1. No names\n2. Be short\n\n"
    f"**Final Answer:**\n{BULLETS}",
    "a draft and a final list": f"Draft:\n- fur\n\nFinal list:\n{BULLETS}",
    "folded by a web page": '<details type="reasoning">\n<summary>Denken</summary>\n- no\n</details>\n'
    f"{BULLETS}",
    "thinking on a terminal": f"Thinking...\nWell:\n- no\n...done thinking.\n\n{BULLETS}",
    "quoted thinking": f"> Thinking...\n> - no\n> - not this\n\n{BULLETS}",
    "channels without marks": f"analysisWe list features.\n- no\nassistantfinal{BULLETS}",
    "let me think": f"Let me think about what one sees:\n- no\n- in Asia\n\nHere is the list:\n{BULLETS}",
    "a thought process": f"Here is my thought process:\n- no\n\nHere is my response:\n{BULLETS}",
    "a final response in brackets": "Here are my reasoning steps:\n- no\n[BEGIN FINAL RESPONSE]\n"
    f"{BULLETS}\n[END FINAL RESPONSE]",
    "a chain of thought in JSON": '{"chain_of_thought": ["no"], "seen": ["orange fur", "black stripes"]}',
    "the user's turn in words": f"{BULLETS}\n\nUser: and a lion?\nAssistant:\n- a mane",
    "the next instruction": f"{BULLETS}\n\n### Instruction:\nlion\n### Response:\n- a mane",
    "the other side of the talk": f"{BULLETS}<|im_end|>\n<|im_start|>user\n- more!",
}
#: ... then those of other marks, words and JSON.
PLAIN: dict[str, str] = {
    # Marks.
    "dashes": BULLETS,
    "dashes without blanks": "-orange fur\n-black stripes",
    "stars": "* orange fur\n* black stripes",
    "bold stars": "* **orange fur**\n* **black stripes**",
    "plus": "+ orange fur\n+ black stripes",
    "dots": "\u2022 orange fur\n\u2022 black stripes",
    "dots on one line": "\u2022 orange fur \u2022 black stripes",
    "long dashes": "\u2013 orange fur\n\u2014 black stripes",
    "a minus": "\u2212 orange fur\n\u2212 black stripes",
    "squares and arrows": "\u25aa orange fur\n\u2192 black stripes",
    "pictures": "\U0001f42f orange fur\n\U0001f405 black stripes",
    "checks": "\u2705 orange fur\n\u2714\ufe0f black stripes",
    "numbers": "1. orange fur\n2. black stripes",
    "numbers in brackets": "(1) orange fur\n(2) black stripes",
    "numbers in square brackets": "[1] orange fur\n[2] black stripes",
    "numbers on one line": "1. orange fur 2. black stripes",
    "bold numbers": "**1.** orange fur\n**2.** black stripes",
    "numbers in circles": "\u2460 orange fur\n\u2461 black stripes",
    "numbers as keys": "1\ufe0f\u20e3 orange fur\n2\ufe0f\u20e3 black stripes",
    "letters": "a) orange fur\nb) black stripes",
    "Roman numbers": "i. orange fur\nii. black stripes",
    "wide numbers": "\uff11\uff0e orange fur\n\uff12\uff0e black stripes",
    "Arabic numbers": "\u0661. orange fur\n\u0662- black stripes",
    "Chinese numbers": "\u4e00\u3001orange fur\n\u4e8c\u3001black stripes",
    "Katakana dots": "\u30fborange fur\n\u30fbblack stripes",
    "Cyrillic letters": "\u0430) orange fur\n\u0431) black stripes",
    "two marks": "1. - orange fur\n2. - black stripes",
    "check boxes": "- [ ] orange fur\n- [x] black stripes",
    "bare check boxes": "[ ] orange fur\n[x] black stripes",
    "drawn check boxes": "\u2610 orange fur\n\u2611 black stripes",
    "a quotation": "> - orange fur\n> - black stripes",
    "escaped marks": "\\- orange fur\n\\* black stripes",
    "HTML": "<ul>\n<li>orange fur</li><li><b>black</b> stripes</li></ul>".replace("<b>black</b>", "black"),
    "a table of one column": "| # | what |\n|---|---|\n| 1 | orange fur |\n| 2 | black stripes |",
    "bare lines": "orange fur\nblack stripes",
    "bare lines and talk": "Sure, here is what one sees:\n\norange fur\nblack stripes\n\nHope this helps!",
    "quotes and commas": '"orange fur", "black stripes"',
    "a quotation a line": '"orange fur",\n"black stripes"',
    "Windows lines": "- orange fur\r\n- black stripes\r\n",
    # Headings and other words.
    "bold headings": "**Body:**\n- orange fur\n\n**Pattern:**\n- black stripes",
    "bold headings without colons": "**Body**\n\n- orange fur\n\n**Pattern**\n\n- black stripes",
    "headings": "# Tiger\n## Body\n- orange fur\n## Pattern\n- black stripes",
    "plain headings": "Body:\n- orange fur\nPattern:\n- black stripes",
    "headings with marks": "- Body:\n  - orange fur\n- Pattern:\n  - black stripes",
    "bold headings with marks": "* **Body**\n    * orange fur\n* **Pattern**\n    * black stripes",
    "numbered headings": "1. **Body**\n   - orange fur\n2. **Pattern**\n   - black stripes",
    "the class as a heading": "- tiger (Panthera tigris)\n  - orange fur\n  - black stripes",
    "the class as an entry": "- Tiger\n- orange fur\n- black stripes",
    "YAML": "class: tiger\ndescriptors:\n  - orange fur\n  - black stripes",
    "labels": "- Coat: orange fur\n- **Pattern:** black stripes",
    "numbered labels": "Descriptor 1: orange fur\nDescriptor 2: black stripes",
    "bold terms that are explained": "- **orange fur**: most of the coat is of a bright orange colour\n"
    "- **black stripes** - they run down the sides of the whole long body",
    "citations": "- orange fur [1]\n- black stripes [2][3]",
    "other citations": "- orange fur[^1]\n- black stripes\u30104\u2020source\u3011\n\n[^1]: https://example.org",
    "sources": f"{BULLETS}\n\nSources:\n- Wikipedia\n- a book",
    "source lines": "- orange fur \u00b9\n- black stripes [1, 2]\n\n[1] https://example.org/tiger",
    "links": "- [orange fur](https://example.org)\n- black stripes ([1](https://example.org))".replace(
        " ([1](https://example.org))", ""
    ),
    "marks of emphasis": "- *orange* fur\n- `black stripes`",
    "a note": f"{BULLETS}\n- Note: these vary between animals.",
    "talk behind": f"{BULLETS}\n\nLet me know if you need more!",
    "full stops": "- orange fur.\n- black stripes;",
    "a wrapped line": "- orange\n  fur\n- black stripes",
    "repeated entries": "- orange fur\n- Orange fur\n- black stripes",
    "characters without width": "- orange fur\u200b\n- \ufeffblack stripes",
    "paragraphs": "<p>orange fur</p><p>black stripes</p>",
    "a row of numbers": "1 orange fur\n2 black stripes",
    "ordinal numbers": "\u7b2c\u4e00\u3001orange fur\n\u7b2c\u4e8c\u3001black stripes",
    "explanations under the entries": "1. orange fur\n\n   It is bright.\n2. black stripes\n\n   Dark.",
    "named sources": "- orange fur [source](http://x.y)\n- black stripes ([wiki](http://x.y)) (2)",
    "marks of a search engine": "- orange fur\n- black stripes :contentReference[oaicite:0]{index=0}",
    "brackets around each": "- [orange fur]\n- {black stripes}",
    "whole clauses": "- It has orange fur\n- has black stripes",
    "an end without an end": f"{BULLETS}\n- (and so on)\n- ...",
    "Korean letters": "\uac00. orange fur\n\ub098. black stripes",
    "Devanagari numbers": "\u0967. orange fur\n\u0968. black stripes",
    "the class before bare lines": "tiger (Panthera tigris):\norange fur\nblack stripes",
    "headings in HTML": "<b>Body:</b><ul><li>orange fur</li></ul><b>It:</b><ul><li>black stripes</li></ul>",
    "HTML on many lines": "<ul>\n <li>\n  orange fur\n </li>\n <li><i>black</i> stripes\n</ul>",
    "bold entries as headings": "- **Body**\n- orange fur\n- **Pattern**\n- black stripes",
    "headings of many kinds": "== Body ==\n- orange fur\n[Pattern]\n- black stripes",
    "labels with long dashes": "**Body** \u2014 orange fur\n\n**Pattern** \u2014 black stripes",
    "Chinese labels": "**\u89c6\u89c9\u7279\u5f81**\n* **\u6bdb\u8272**\uff1aorange fur\n* black stripes",
    "numbers in levels": "1. Body\n1.1 orange fur\n2. Pattern\n2.1 black stripes",
    "numbers with two marks": "1.) orange fur\n2.) black stripes",
    "numbers behind a hash": "#1 orange fur\n#2 black stripes",
    "drawn arrows": "-> orange fur\n=> black stripes",
    "Arabic letters": "\u0623- orange fur\n\u0628) black stripes",
    "Bengali numbers": "\u09e7\u0964 orange fur\n\u09e8\u0964 black stripes",
    "ordinal signs": "1\u00ba orange fur\n2\u00b0 black stripes",
    "numbers and slashes": "1/ orange fur\n2 | black stripes",
    "round check boxes": "- ( ) orange fur\n- (x) black stripes",
    "raised citations": "- orange fur<sup>[1]</sup>\n- black stripes ^2^ \u2020",
    "lettered citations": "- orange fur [a]\n- black stripes [note 1] (Wikipedia)",
    "YAML on one line": "class: tiger\ndescriptors: [orange fur, black stripes]",
    "another class's section": "## Tiger\n- orange fur\n- black stripes\n## Lion\n- a mane",
    # JSON and what is nearly JSON.
    "an object": OBJECT,
    "a list": '["orange fur", "black stripes"]',
    "a fence": f"```json\n{OBJECT}\n```",
    "a fence and words": f"Here:\n```\n{OBJECT}\n```\nAnything else [or not]?",
    "a trailing comma": '{"class": "tiger", "descriptors": ["orange fur", "black stripes",],}',
    "single quotes": "{'class': 'tiger', 'descriptors': ['orange fur', 'black stripes']}",
    "printed quotes": "[\u201corange fur\u201d, \u201cblack stripes\u201d]",
    "bare keys": '{class: "tiger", descriptors: ["orange fur", "black stripes"]}',
    "comments": '{"descriptors": ["orange fur", // the coat\n "black stripes" # too\n]}',
    "no commas": '["orange fur"\n "black stripes"]',
    "no last brace": '{"class": "tiger", "descriptors": ["orange fur", "black stripes"]',
    "an ellipsis": '["orange fur", "black stripes", ...]',
    "Python": "descriptors = ['orange fur', 'black stripes']",
    "a set of Python": "{'orange fur', 'black stripes'}",
    "a list of bare words": "[orange fur, black stripes]",
    "objects in the list": '{"descriptors": [{"text": "orange fur"}, {"text": "black stripes"}]}',
    "objects with other keys": '[{"feature": "orange fur", "score": 0.9}, {"feature": "black stripes"}]',
    "a list by class": '{"descriptors": {"tiger": ["orange fur", "black stripes"]}}',
    "an object by class": '{"Tiger": {"descriptors": ["orange fur", "black stripes"]}}',
    "objects by class": '[{"class": "lion", "descriptors": ["a mane"]}, '
    '{"class": "tiger", "descriptors": ["orange fur", "black stripes"]}]',
    "lists by part": '{"descriptors": {"body": ["orange fur"], "pattern": ["black stripes"]}}',
    "parts beside the class": '{"class": "tiger", "body": ["orange fur"], "pattern": ["black stripes"]}',
    "a dictionary of numbers": '{"descriptors": {"1": "orange fur", "2": "black stripes"}}',
    "numbered keys": '{"class": "tiger", "descriptor_1": "orange fur", "descriptor_2": "black stripes"}',
    "bullets in JSON": json.dumps({"class": "tiger", "descriptors": BULLETS}),
    "JSON in JSON": json.dumps(OBJECT),
    "JSON Lines": '{"descriptor": "orange fur"}\n{"descriptor": "black stripes"}',
    "reasons beside the list": '{"reasoning": ["be short"], "features": ["orange fur", "black stripes"]}',
    "two drafts": f'First: ["fur", "legs"]. Better: {OBJECT}',
    "the class with its Latin name": OBJECT.replace('"tiger"', '"Tiger (Panthera tigris)"'),
    "a kind of the class": OBJECT.replace('"tiger"', '"Bengal tiger"'),
    "the class in the plural": OBJECT.replace('"tiger"', '"The Tigers"'),
    "the class in another script": OBJECT.replace('"tiger"', '"\u8001\u864e"'),
    "commas in JSON": '{"class": "tiger", "descriptors": "orange fur, black stripes"}',
    "lists in the list": '[["orange fur"], ["black stripes"]]',
    "tuples": "{'class': 'tiger', 'descriptors': ('orange fur', 'black stripes')}",
    "a call of a tool": f'<tool_call>{{"name": "x", "arguments": {OBJECT}}}</tool_call>',
    "ranks in the list": '{"descriptors": [["orange fur", 0.9], ["black stripes", 0.8]]}',
    "words by class": '{"tiger": "orange fur, black stripes"}',
    "the Latin name alone": OBJECT.replace('"tiger"', '"Panthera tigris"'),
    "no class named": OBJECT.replace('"tiger"', '""'),
    "other capitals": '{"Class": "TIGER", "Descriptors": ["orange fur", "black stripes"]}',
    "a call whose arguments are text": json.dumps({"name": "describe", "arguments": OBJECT}),
    "a list of calls": json.dumps({"tool_calls": [{"function": {"name": "answer", "arguments": OBJECT}}]}),
    "a message": json.dumps({"role": "assistant", "content": OBJECT}),
    "an agent's last action": json.dumps({"action": "final_answer", "action_input": OBJECT}),
    "numbers in the texts of JSON": '{"descriptors": ["1. orange fur", "2. black stripes"]}',
    "references": f"{BULLETS}\n\nReferences\n1. Smith, Tigers of Asia\n2. Jones, Cats",
    "a summary": f"{BULLETS}\n\nIn summary:\n- tigers are big cats",
    "what is not seen": f"{BULLETS}\n\nNon-visual traits (excluded):\n- lives in Asia",
    "how to tell it": f"{BULLETS}\n\nHow to tell it from a lion:\n- lions have a mane",
    "marks of other engines": "- orange fur [cite: 1, 2]\n- black stripes \ue200cite\ue202turn0\ue201",
    "a nested answer": '{"result": {"class": "tiger", "items": ["orange fur", "black stripes"]}}',
}
FORMS = {**THINKING, **PLAIN}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_holds_the_same_list(form: str):
    assert parse_answer(FORMS[form], "descriptors", "tiger", ["lion", "polar bear"]) == GOOD


@pytest.mark.parametrize("form", PLAIN)
@pytest.mark.parametrize(
    "tag", ["<think>{}</think>", "<reasoning>\n{}\n</reasoning>\n", "{}</think>", "[THINK]{}[/THINK]"]
)
def test_every_form_in_thinking_is_no_answer(form: str, tag: str):
    draft = PLAIN[form].replace("orange", "grey")
    assert parse_answer(tag.format(draft) + BULLETS, "descriptors", "tiger") == GOOD
    with pytest.raises(AnswerError, match="thinking"):
        parse_answer(f"<think>{draft}", "descriptors", "tiger")


PIECES = st.sampled_from(
    [
        "<think>",
        "</think>",
        "[",
        "]",
        "{",
        "}",
        '"',
        "'",
        ":",
        ",",
        "- ",
        "**",
        "\n",
        "\\",
        "\\u",
        "|",
        "lion",
        "\ud800",
        "\0",
    ]
)


@given(st.sampled_from(sorted(FORMS)), st.lists(st.tuples(st.integers(0, 200), PIECES), max_size=5))
def test_a_damaged_form_is_a_list_or_refused(form: str, damage: list[tuple[int, str]]):
    text = FORMS[form]
    for place, piece in damage:
        text = text[:place] + piece + text[place:]
    with suppress(AnswerError):
        found = parse_answer(text, "descriptors", "tiger", ["lion"])
        assert found and all(each.strip() for each in found)
        "\n".join(found).encode()


def test_there_are_many_forms():
    assert len(FORMS) == 188  # as docs/descriptors.md says


@pytest.mark.parametrize(
    ("text", "name", "found"),
    [
        ("1\u3001\u6a59\u8272\u7684\u6bdb\n2\u3001\u9ed1\u8272\u6761\u7eb9\u3002", "\u8001\u864e",
         ["\u6a59\u8272\u7684\u6bdb", "\u9ed1\u8272\u6761\u7eb9"]),
        ("\u30fb\u9ed2\u3044\u7e1e", "\u30c8\u30e9", ["\u9ed2\u3044\u7e1e"]),
        ("- Tail: long and ringed\n- Eyes: round", "tiger", ["Tail: long and ringed", "Eyes: round"]),
        ("- 2-toned coat\n- 3.5 metres long\n- 30\u00b0 angle", "tiger",
         ["2-toned coat", "3.5 metres long", "30\u00b0 angle"]),
        ("- sure-footed stance\n- okra pods\n- tip of tail white\n- I-shaped frame", "tiger",
         ["sure-footed stance", "okra pods", "tip of tail white", "I-shaped frame"]),
        ("- #1 jersey\n- **bold** lettering", "tiger", ["#1 jersey", "bold lettering"]),
        ("- the tiger's \"ghost\" stripes", "tiger", ["the tiger's \"ghost\" stripes"]),
        ("['the cat\\'s eyes', 'a dog's ears']", "tiger", ["the cat's eyes", "a dog's ears"]),
        ("- long tail\n  - ringed with black\n- short ears", "tiger",
         ["long tail", "ringed with black", "short ears"]),
        ('{"class": "tiger (animal)", "descriptors": ["fur"]}', "tiger (Panthera tigris)", ["fur"]),
        ("orange fur, stripes, and a long tail", "tiger", ["orange fur", "stripes", "a long tail"]),
        ("- fur\x1b[31m red\n- \ud800paws", "tiger", ["fur [31m red", "paws"]),
    ],
)  # fmt: skip
def test_what_must_be_kept(text: str, name: str, found: list[str]):
    assert parse_answer(text, "descriptors", name, ["lion (animal)"]) == found


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<think>- orange fur\n- black stripes", "thinking"),
        ("<think>- orange fur</think>", "thinking"),
        ("<think>I cannot.</think>I\u2019m sorry, I can\u2019t help.", "refusal"),
        ('{"descriptors": ["I\'m sorry, I cannot help with that."]}', "refusal"),
        ('{"class": "polar bear", "descriptors": ["white fur"]}', "about 'polar bear'"),
        ('{"class": "lion (animal)", "descriptors": ["a mane"]}', "about 'lion"),
        ('{"lion": ["a mane"]}', "about 'lion'"),
        ("['orange fur', 'black str", "cut off"),
        ('{"descriptors": {"body": ["orange fur"], "tail": ["lo', "cut off"),
        ("Tigers are big, strong, and fast.", "no list"),
        ("A tiger lives in Asia.\nIt eats deer.", "no list"),
        ("| part | look |\n|---|---|\n| fur | orange |\n| tail | long |", "no list"),
        ("See [1] and [2].", "no list"),
        ("```json\n[]\n```", "no list"),
        ('{"descriptors": [1, 2]}', "not a list of texts"),
        ("[" * 40_000 + "]" * 40_000, "cut off"),
        ('{"a":' * 5_000, "cut off"),
    ],
)
def test_what_is_no_answer(text: str, reason: str):
    with pytest.raises(AnswerError, match=reason):
        parse_answer(text, "descriptors", "tiger", ["lion", "polar bear"])


def test_a_list_that_the_server_cut():
    torn = "- orange fur\n- a long tail that is\n- whi"
    assert parse_answer(torn, "descriptors", "tiger", cut=True) == ["orange fur", "a long tail that is"]
    with pytest.raises(AnswerError, match="cut off"):
        parse_answer(torn, "descriptors", "tiger", cut=True, least=3)


@pytest.mark.parametrize(
    "piece",
    [
        "<think>",
        "</think>",
        "[",
        '{"a',
        "```thinking\n",
        "<details><summary>think</summary>",
        "- ",
        "1. a 2. ",
        "\u2022 ",
        "<answer>",
        "**a",
        "{'",
        "[1](",
        "'a' ",
        "|a|b|\n",
        "<li>",
        "(source: ",
        "\\",
        "*a ",
        "<|channel|>final",
        "#/*",
    ],
)
def test_hostile_repetition_takes_no_time(piece: str):
    begun = time.perf_counter()
    with suppress(AnswerError):
        parse_answer(piece * (50_000 // len(piece)), "descriptors", "tiger", ["lion"])
    without_thinking(piece * (2_000_000 // len(piece)))
    assert time.perf_counter() - begun < 5
