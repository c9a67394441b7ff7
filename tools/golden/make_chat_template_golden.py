#!/usr/bin/env python3
"""Writes the golden data of tests/engine/text/jinja_golden_test.cc: what Python's jinja2 makes of
chat templates, with the settings of transformers.

  pip install jinja2==3.1.6
  make_chat_template_golden.py                              # tests/golden/chat_templates
  make_chat_template_golden.py --templates DIR --out DIR2   # any other folder of *.jinja

The second form is for templates that are not ours to commit; `chat_template_check DIR2` (a test
target) then compares. Files in the folder:
  conversations.jsonl  one {"name", "variables"} per line
  expected.jsonl       one {"template", "conversation", "text"} per line; "text" is null when Python
                       raises. In the first form also {"source", "text"}: snippets of SNIPPETS below,
                       with the variables of SNIPPET_VARIABLES
"""

import argparse
import datetime
import json
import pathlib
import re

import jinja2
import jinja2.ext
import jinja2.sandbox

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "chat_templates"
NOW = datetime.datetime(2026, 11, 8, 9, 5, 3)


class Generation(jinja2.ext.Extension):
    """{% generation %}, as transformers' AssistantTracker has it, without the tracking."""
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        call = self.call_method("_content")
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _content(self, caller):
        return caller()


def environment():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                          sort_keys=sort_keys)

    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = NOW.strftime
    return env


def render(env, source, variables):
    try:
        return env.from_string(source).render(**variables)
    except Exception:  # Whatever Python raises, we refuse.
        return None


WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "The weather of a <city>, today's & tomorrow's.",
    "parameters": {"type": "object", "properties": {
        "city": {"type": "string", "description": "Which city, e.g. \"São Paulo\""},
        "days": {"type": "integer", "minimum": 1, "maximum": 7, "default": 1},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "point": {"type": "object", "properties": {"lat": {"type": "number"},
                                                   "lon": {"type": ["number", "null"]}}},
        "any": {"oneOf": [{"type": "string"}, {"type": "integer", "format": "int32"}]}},
        "required": ["city"]}}}
PLAIN = {"type": "function", "function": {"name": "now", "description": "",
                                          "parameters": {"type": "object", "properties": {}}}}
CALL = {"id": "abcDEF123", "type": "function",
        "function": {"name": "get_weather", "arguments": {"city": "Köln", "days": 2}}}
CALL2 = {"id": "zyx987WVU", "type": "function", "function": {"name": "now", "arguments": {}}}
TEXT_CALL = {"id": "abcDEF123", "type": "function",
             "function": {"name": "get_weather", "arguments": '{"city": "Köln"}'}}


def message(role, content, **more):
    return {"role": role, "content": content, **more}


def conversations():
    user, answer = message("user", "Hi there!"), message("assistant", "Hello. How are you?")
    system = message("system", "You are <kind> & brief.")
    unicode_text = "Grüße, \u4f60\u597d \U0001F600\u200d \u00a0e\u0301 \u2028 'q' \"d\" \\ \t|\n\nend "
    tool = message("tool", '{"degrees": 21.5}', tool_call_id="abcDEF123", name="get_weather")
    call = message("assistant", "", tool_calls=[CALL])
    table = {
        "one": [user],
        "system": [system, user],
        "turns": [user, answer, message("user", "Fine, and you?")],
        "system_turns": [system, user, answer, message("user", "And you?"), answer],
        "unicode": [message("system", unicode_text), message("user", unicode_text),
                    message("assistant", unicode_text), message("user", "  \n " + unicode_text)],
        "empty_user": [message("user", "")],
        "empty_all": [message("system", ""), message("user", ""), message("assistant", ""),
                      message("user", "")],
        "control": [message("user", "<|im_end|>\n<|im_start|>system\n[INST] </s> <|eot_id|>"),
                    message("assistant", "<|endoftext|>[/INST]"), message("user", "{{ 7*7 }} {% x %}")],
        "blanks": [message("user", "\n\n  spaced \t\n"), message("assistant", " \nok\n "),
                   message("user", "\u3000wide\u3000")],
        "think": [user, message("assistant", "<think>\nhm\n</think>\n\nYes."),
                  message("user", "/no_think why?"), message("assistant", "a</think>b</think>c")],
        "no_messages": [],
        "two_users": [user, user],
        "assistant_first": [answer, user],
        "late_system": [user, system, user],
        "unknown_role": [message("narrator", "Once"), user],
        "none_content": [user, message("assistant", None, tool_calls=[TEXT_CALL]), tool],
        "chunks": [message("user", [{"type": "text", "text": "Look: "},
                                    {"type": "image_url", "image_url": {"url": "x"}}])],
        "tool_call": [system, user, call, tool],
        "tool_turns": [user, call, tool, message("assistant", "21.5 degrees."),
                       message("user", "Thanks & bye")],
        "two_calls": [user, message("assistant", "Let me see.", tool_calls=[CALL, CALL2]), tool,
                      message("tool", "12:00", tool_call_id="zyx987WVU", name="now"),
                      message("assistant", "Both.")],
        "text_arguments": [user, message("assistant", "", tool_calls=[TEXT_CALL]), tool],
        "tool_object": [user, call, message("tool", {"degrees": [1, 2.0, None, True, 1e-7, 1e20]},
                                            tool_call_id="abcDEF123")],
        "reasoning": [user, message("assistant", "Yes", reasoning_content="Because\n"),
                      message("user", "ok")],
    }
    tokens = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    base = {"tools": None, "documents": None, **tokens}
    out = []
    for name, messages in table.items():
        for prompt in (True, False):
            out.append((f"{name}{'+' if prompt else ''}",
                        {"messages": messages, "add_generation_prompt": prompt, **base}))
        if name in ("one", "system", "turns", "tool_call", "tool_turns", "two_calls", "unicode",
                    "text_arguments", "tool_object", "none_content", "empty_all"):
            out.append((f"{name}+tools", {"messages": messages, "add_generation_prompt": True,
                                          **base, "tools": [WEATHER, PLAIN]}))
    more = {"enable_thinking": True, "date_string": "1 Jan 2025", "thinking": True}
    for name in ("system_turns", "think", "tool_turns"):
        out.append((f"{name}+more", {"messages": table[name], "add_generation_prompt": True,
                                     **base, **more, "tools": [WEATHER], "controls": {"length": 3},
                                     "documents": [{"doc_id": 1, "title": "T", "text": "D & d"}]}))
        out.append((f"{name}+undefined", {"messages": table[name], **tokens}))
    out.append(("one+builtin", {"messages": table["one"], "add_generation_prompt": True, **base,
                                "builtin_tools": ["web", "code_interpreter"],
                                "tools_in_user_message": False, "enable_thinking": False}))
    return out


SNIPPET_VARIABLES = {
    "n": 7, "f": 2.5, "t": True, "no": None, "empty": "", "s": "Hello, Wörld ẞtraße ΣΑΣ",
    "blanks": " \t\u00a0x y\u3000\n", "lines": "a\nb\r\nc\x0bd\u2028e", "html": "<b>&\"'</b>",
    "xs": [3, 1, 2, 1], "words": ["pear", "Apple", "fig", "apple"], "nested": [[1, [2]], {"a": [None]}],
    "d": {"b": 1, "a": "x", "items": 5, "C": None, "get": 1}, "unicode": "e\u0301\u4f60\U0001F600\u200b\x7f\x01\xad",
    "people": [{"name": "Zoe", "age": 30, "at": {"x": 1}}, {"name": "adam", "age": 25},
               {"name": "Bob", "age": 30, "at": {"x": 2}}],
    "big": 123456789012345678901234567890, "floats": [1.0, 1e16, 1e-5, 0.1, 123456.789, 1e22, -0.0],
    "quotes": ["it's", 'say "x"', "it's \"x\"", "back\\slash\ttab"],
    "json": {"k": ["é", {"z": 1, "a": [], "e": {}}], "n": None, "b": False},
}

SNIPPETS = r"""
{{ n + 1 }} {{ n - 10 }} {{ n * f }} {{ n / 2 }} {{ n // 2 }} {{ -n // 2 }} {{ -n % 3 }} {{ n ** 2 }} {{ 2 ** -1 }}
{{ -7.5 // 2 }} {{ -7.5 % 2 }} {{ 7 % -3 }} {{ 1e3 }} {{ 1.5e-7 }} {{ 1_000 }} {{ 10 / 3 }} {{ 2.0 * 3 }} {{ 1 / 0 }}
{{ -n|abs }} {{ (-n)|abs }} {{ -f|abs }} {{ +t }} {{ -t }} {{ t + t }} {{ not t }} {{ not no }}
{{ 9223372036854775807 }} {{ big }} {{ [big] }} {{ big == big }} {{ floats }} {{ floats|join(' ') }}
{{ 'a' ~ 1 ~ none ~ true ~ 1.0 ~ [1, 'x'] ~ missing }}
{{ 'a' 'b' "c" }} {{ 'a' * 3 }} {{ 3 * 'ab' }} {{ [1] * 2 + [3] }} {{ 'a' * -1 }} {{ 'a' + 1 }}
{{ '\n\t\\\'\"\x41\u00e9\U0001F600\101\q\
' }}
{{ "é\n" }}|{{ 'tab	' }}
{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 'a' < 'b' }} {{ [1, 2] < [1, 3] }} {{ 1 == 1.0 == true }} {{ 'a' == 1 }} {{ none == none }} {{ 1 < 'a' }}
{{ 1 in xs }} {{ 9 not in xs }} {{ 'ell' in s }} {{ 'a' in d }} {{ 1 in d }} {{ '' in empty }} {{ 1 in 'a' }}
{{ (1, 2) }} {{ (1,) }} {{ () }} {{ [] }} {{ {} }} {{ {'a': 1, 2: 'b', none: true} }} {{ [1, 'a', none, 1.5, {'k': 'v'}] }}
{{ 1 if t else 2 }} {{ 1 if no else 2 }} {{ 1 if no }}| {{ 'x' if t if no else 'y' }}
{{ t and 5 }} {{ no or 'x' }} {{ no and missing.x }} {{ '' or [] }} {{ 0 or none }}
{{ s[0] }} {{ s[-1] }} {{ s[1:5] }} {{ s[::-1] }} {{ s[::2] }} {{ s[5:1:-1] }} {{ s[-3:] }} {{ s[:100] }} {{ s[100:] }}|{{ s[100] }}
{{ xs[0] }} {{ xs[-1] }} {{ xs[1:3] }} {{ xs[::-1] }} {{ xs[10] }}| {{ xs[:-1] }} {{ xs[-2::-1] }} {{ xs[::0] }}
{{ unicode[0] }} {{ unicode[1:3] }} {{ unicode|length }} {{ [unicode] }} {{ unicode|tojson }} {{ unicode|tojson(ensure_ascii=true) }}
{{ d.a }} {{ d['a'] }} {{ d.missing }}| {{ d['items'] }} {{ d.items()|list }} {{ d.get('zz', 'dflt') }} {{ d.get('zz') }} {{ d['get'] }} {{ d.keys()|list }} {{ d.values()|list }}
{{ missing }}| {{ missing|default('x') }} {{ ''|default('y') }}| {{ ''|default('y', true) }} {{ none|d('z') }} {{ missing.x }}
{{ missing is defined }} {{ missing.x is defined }}
{{ d.a is defined }} {{ d.q is defined }} {{ d.q is undefined }} {{ missing|length }} {{ missing|list }} {{ missing == missing2 }} {{ missing + 'a' }}
{% for x in missing %}x{% else %}none{% endfor %}
{{ 'x' in missing }} {{ missing|string }}| {{ missing|upper }}| {{ missing|tojson }}
{{ d|length }} {{ xs|count }} {{ s|length }} {{ n|length }}
{{ s|upper }} {{ s|lower }} {{ s|title }} {{ s|capitalize }} {{ s.upper() }} {{ s.lower() }} {{ s.title() }} {{ s.capitalize() }}
{{ "they're bill's friends-of (mine) [x] <y>"|title }} {{ "they're bill's friends".title() }} {{ 'ǆ ŉ ﬁ İ'.title() }} {{ 'ΑΣ ΑΣΑ Σ'.lower() }} {{ 'İ'|lower|length }}
{{ blanks|trim }}| {{ blanks.strip() }}| {{ blanks.lstrip() }}| {{ blanks.rstrip() }}| {{ 'xxaxx'.strip('x') }} {{ 'abcba'.strip('ab') }} {{ 'xay'|trim('xy') }} {{ '¿a¿'.strip('¿') }}
{{ s.split(', ') }} {{ 'a,b,c'.split(',', 1) }} {{ 'a,b,c'.rsplit(',', 1) }} {{ ' a  b '.split() }} {{ ' a  b c '.split(none, 1) }} {{ 'aXXbXXc'.split('XX')[-1] }} {{ ''.split(',') }} {{ ''.split() }} {{ 'a'.split('') }}
{{ 'aaa'.rsplit('aa') }} {{ 'aaaa'.split('aa') }} {{ 'a,b,c,d'.rsplit(',', 2) }} {{ 'abc'.split('x', 0) }}
{{ lines.splitlines() }} {{ lines.splitlines(true) }} {{ 'a\n\nb\n'.splitlines() }}
{{ s.replace('l', 'L') }} {{ s.replace('l', 'L', 1) }} {{ s|replace('o', '0') }} {{ s|replace('l', '', 1) }} {{ 'abc'.replace('', '-') }} {{ 'abc'.replace('', '-', 2) }} {{ 12321|replace(2, 'x') }}
{{ s.startswith('Hell') }} {{ s.endswith('Σ') }} {{ s.startswith(('x', 'H')) }} {{ s.find('W') }} {{ s.find('zz') }} {{ s.rfind('l') }} {{ s.index('W') }} {{ s.count('l') }} {{ 'aaaa'.count('aa') }} {{ 'abc'.count('') }}
{{ s.index('zz') }}
{{ 'abc'.removeprefix('a') }} {{ 'abc'.removesuffix('bc') }} {{ 'abc'.removeprefix('x') }} {{ '-'.join(['a', 'b']) }} {{ '-'.join('abc') }} {{ '-'.join([1]) }}
{{ '12'.isdigit() }} {{ 'a1'.isalnum() }} {{ 'ab'.isalpha() }} {{ ' '.isspace() }} {{ ''.isdigit() }} {{ 'AB'.isupper() }} {{ 'aB'.islower() }} {{ 'É1'.isupper() }}
{{ '{} {}'.format(1, 'a') }} {{ '{0}{1}{0}'.format('x', 'y') }} {{ '{k}'.format(k=2) }} {{ '{{}}'.format() }} {{ '{}'.format() }}
{{ '%s-%d%%' % ('a', 3) }} {{ '%s' % 'x' }} {{ '%s'|format(n) }} {{ '%r' % s }} {{ '%s %s'|format(1) }} {{ '%d' % 3.7 }}
{{ 'a\nb\n\nc'|indent }} {{ 'a\nb\n\nc'|indent(2, true) }} {{ 'a\nb\n\nc'|indent(2, blank=true) }} {{ 'a\nb'|indent('> ') }}
{{ xs|sort }} {{ xs|sort(reverse=true) }} {{ words|sort }} {{ words|sort(case_sensitive=true) }} {{ people|sort(attribute='age')|map(attribute='name')|list }} {{ people|sort(reverse=true, attribute='age')|map(attribute='name')|list }}
{{ xs|min }} {{ xs|max }} {{ words|min }} {{ words|max }} {{ []|min }}| {{ people|max(attribute='age') }} {{ xs|sum }} {{ people|sum(attribute='age') }} {{ xs|sum(start=10) }}
{{ xs|unique|list }} {{ words|unique|list }} {{ words|unique(true)|list }} {{ people|unique(attribute='age')|map(attribute='name')|join(',') }} {{ [[1]]|unique|list }}
{{ xs|first }} {{ xs|last }} {{ []|first }}| {{ s|first }} {{ s|last }} {{ d|first }} {{ xs|reverse|list }} {{ s|reverse }}
{{ xs|join }} {{ xs|join(', ') }} {{ people|join('; ', attribute='name') }} {{ 'abc'|join('-') }} {{ []|join(',') }}|
{{ xs|map('string')|list }} {{ words|map('upper')|join(' ') }} {{ words|map('replace', 'p', 'P')|list }} {{ people|map(attribute='at.x')|list|length }} {{ people|map(attribute='at.x', default=0)|list }} {{ [[1,2],[3,4]]|map(attribute=1)|list }}
{{ xs|select('odd')|list }} {{ xs|reject('equalto', 1)|list }} {{ [0, 1, '', 'a']|select|list }} {{ people|selectattr('age', 'gt', 25)|map(attribute='name')|list }} {{ people|rejectattr('at')|list|length }} {{ people|selectattr('at', 'defined')|list|length }} {{ people|selectattr('name', 'in', ['Bob'])|list }}
{% set g = xs|select('odd') %}{{ g|list }}{{ g|list }}{% if xs|select('equalto', 99) %}true{% endif %}
{% set g = d|items %}{% for k, v in g %}{{ k }}={{ v }};{% endfor %}{% for k in g %}again{% endfor %}
{{ d|dictsort }} {{ d|dictsort(true) }} {{ {'x': 2, 'y': 1}|dictsort(by='value') }} {{ d|dictsort(reverse=true) }} {{ d|items|list }}
{{ '12'|int }} {{ '12.7'|int }} {{ ' 5 '|int }} {{ 'x'|int }} {{ 'x'|int(9) }} {{ 3.9|int }} {{ '1e2'|float }} {{ 'x'|float(1.5) }} {{ '3'|float }} {{ true|int }} {{ none|int }}
{{ 2.567|round(2) }} {{ 2.5|round }} {{ 3.5|round }} {{ 42.55|round(1, 'floor') }} {{ 42.51|round(1, 'ceil') }} {{ 7|round }} {{ 2.675|round(2) }}
{{ html|e }} {{ html|escape }} {{ html|safe }} {{ (html|safe) + '<' }} {{ '<' + (html|safe) }} {{ (html|e)|e }} {{ (html|safe) ~ '<' }}
{{ json|tojson }} {{ json|tojson(indent=2) }} {{ json|tojson(indent=0) }} {{ json|tojson(separators=(',', ':')) }} {{ json|tojson(sort_keys=true) }} {{ floats|tojson }} {{ quotes|tojson }} {{ (1, 2)|tojson }} {{ html|tojson }} {{ big|tojson }} {{ d.items|tojson }}
{{ nested }} {{ quotes }} {{ json }} {{ {1: 'a', 1.5: 'b', true: 'c'}|tojson }} {{ json|tojson(indent='-> ') }}
{{ [true, false, none] }} {{ true }} {{ none }} {{ True }} {{ None }}
{{ n is number }} {{ s is string }} {{ d is mapping }} {{ xs is sequence }} {{ s is sequence }} {{ d is iterable }} {{ n is iterable }} {{ t is boolean }} {{ n is integer }} {{ t is integer }} {{ f is float }} {{ no is none }} {{ missing is none }} {{ t is true }} {{ n is odd }} {{ n is even }} {{ n is divisibleby 7 }} {{ n is divisibleby(2) }} {{ 3 is in xs }} {{ n is eq 7 }} {{ n is not gt 9 }} {{ 'A' is upper }} {{ 'a' is lower }} {{ t is sameas true }} {{ n is number and f is number }} {{ d.get is callable }} {{ xs|map('string') is sequence }}
{% for x in xs %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.cycle('a', 'b') }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.depth }};{% endfor %}
{% for x in xs if x > 1 %}{{ x }}{{ loop.length }}{% endfor %}|{% for x in [] %}{% else %}else{% endfor %}|{% for x in xs %}{% if x == 2 %}{% break %}{% endif %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}
{% for k, v in d.items() %}{{ k }}:{{ v }},{% endfor %}{% for a, b in [(1, 2), [3, 4]] %}{{ a + b }}{% endfor %}{% for c in 'héy' %}{{ c }}.{% endfor %}{% for k in d %}{{ k }}{% endfor %}
{% for x in [1, 2] %}{% for y in [3, 4] %}{{ x * y }}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}
{% for a, b in [1] %}{% endfor %}
{% set x = 1 %}{% for i in xs %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}
{% set ns = namespace(x=1, y='a') %}{% for i in xs %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}{{ ns.y }}{{ ns.z }}
{% set x.y = 1 %}
{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set (c, d2) = (3, 4) %}{{ c }}{{ d2 }}{% set t2 = 1, %}{{ t2 }}
{% set b %}  block {{ n }} {% endset %}[{{ b }}]{% set b | upper | trim %} x {% endset %}[{{ b }}]
{% if n > 5 and not no %}a{% elif n %}b{% else %}c{% endif %}{% if no %}a{% elif 0 %}b{% else %}c{% endif %}{% if xs %}y{% endif %}{% if {} %}z{% endif %}
{% macro m(a, b='B', c=none) %}[{{ a }}|{{ b }}|{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1, 2, 3) }}{{ m(b=5, a=4) }}{{ m() }}{{ m(1, c=m(2)) }}
{% macro fact(k) %}{% if k < 2 %}1{% else %}{{ k * fact(k - 1)|int }}{% endif %}{% endmacro %}{{ fact(6) }}
{% macro m() %}{{ x }}{% endmacro %}{% set x = 5 %}{{ m() }}{% for x in [9] %}{{ m() }}{% endfor %}
{% macro m(a) %}x{% endmacro %}{{ m(1, 2) }}
{% macro box(t) %}<{{ t }}>{{ caller() }}</{{ t }}>{% endmacro %}{% call box('b') %}in{{ n }}{% endcall %}
{% filter upper %}abc {{ n }} ß{% endfilter %} {% with a = 1, b = n %}{{ a + b }}{% endwith %}{{ a }}
{% raw %}{{ x }} {% if %}{% endraw %} {%- raw -%}  y {%- endraw %} z
{# comment #}a{#- c -#} b {#+ d #}
  {% if t %}
  x
    {%- if t %}  y  {% endif -%}
  {% endif %}
 end
a {%- if t -%} b {%- endif -%} c {{- n -}} d {{ n -}} e
  {%+ if t %}keep{% endif +%}
 x
{{ [1, 2, 3,] }} {{ {'a': 1,} }} {{ range(3)|list }} {{ range(5, 0, -2)|list }} {{ range(1, 4)|join }} {{ dict(a=1, b=2) }} {{ range(0)|list }}
{{ strftime_now('%d %b %Y %H:%M:%S %j %A %B %p %y %%') }} {{ raise_exception('no') }}
{{ strftime_now('%d %b %Y %-d %e') }}
{{ d.pop('a') }}
{{ xs.append(1) }}
{{ xs.index(2) }} {{ xs.count(1) }}
{{ x | nofilter }}
{{ x is notest }}
{{ a b }}
{% if %}{% endif %}
{% for x in xs %}
{{ 'a' }
{% endif %}
{% unknown %}
{{ 'unclosed }}
{{ n.nothing }}| {{ s.__class__ }}| {{ d.__class__ }}|
{{ namespace(a=1).a }} {{ namespace({'a': 2}).a }} {{ namespace() is defined }} {{ loop }}|
{% generation %}gen{% set q = 1 %}{% endgeneration %}{{ q }}
{{ 1 if n is defined and n is not none else 2 }} {{ (n is defined) }} {{ not n is defined }}
{{ s|replace('l', '')|upper|length }} {{ (s ~ s)|length }} {{ s|string|trim|first|lower }}
{{ 'a' if 'x' in s else 'b' }}{{ 'a' ~ 'b' if t else 'c' }}
{{ messages[0] }}
{{ 'é' < 'z' }} {{ 'Z' < 'a' }} {{ ['b', 'a']|sort|join }} {{ [2, 1.5, true]|sort }} {{ [1, 'a']|sort }}
{{ 0.1 + 0.2 }} {{ 1e100 }} {{ 100000000000000000.0 }} {{ 123456789.123456789 }} {{ 5e-324 }} {{ 1.7976931348623157e308 * 10 }}
{{ "a" "b"|upper }} {{ ("a" ~ "b")|upper }} {{ -1|string }} {{ 2 * 3 ** 2 }} {{ -2 ** 2 }} {{ 2 ** 3 ** 2 }} {{ 7 - 2 - 1 }} {{ 1 + 2 ~ 3 + 4 }}
""".strip("\n")


def snippets():
    """A line each, but for lines that go on with a blank; a line of expressions is one each."""
    lines = []
    for line in SNIPPETS.split("\n"):
        if lines and (line.startswith((" ", "' }}")) or lines[-1].startswith("  ")):
            lines[-1] += "\n" + line
        else:
            lines.append(line)
    out = []
    for line in lines:
        out += [line] if "{%" in line or "{#" in line else re.split(r"(?<=\}\})\|? (?=\{\{)", line)
    return out + ["x\n", "x\n\n", "\r\nx\r\n", "{% if t %}\r\na\r\n{% endif %}\r\n", "", "{", "{{", "{%",
                  "a{#", "{{ n }}\n", "{% if t %}\n\n a{% endif %}\n b", "\n  {# c #}\n  x", "\t{% set x = 1 %}\ny",
                  "x {% set y = 1 %}\nz", "{{ n }}\n\n", "{%- if t %}\n  a\n{%- endif %}\n", "{{n}}{{-n-}} {{n}}"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--templates", type=pathlib.Path, default=GOLDEN / "templates")
    parser.add_argument("--out", type=pathlib.Path, default=GOLDEN)
    options = parser.parse_args()
    env = environment()
    table = conversations()
    dump = lambda x: json.dumps(x, ensure_ascii=False) + "\n"
    options.out.mkdir(parents=True, exist_ok=True)
    with open(options.out / "conversations.jsonl", "w") as out:
        for name, variables in table:
            out.write(dump({"name": name, "variables": variables}))
    with open(options.out / "expected.jsonl", "w") as out:
        for path in sorted(options.templates.glob("*.jinja")):
            source = path.read_text()
            for name, variables in table:
                out.write(dump({"template": path.name, "conversation": name,
                                "text": render(env, source, variables)}))
        if options.out == GOLDEN:
            out.write(dump({"variables": SNIPPET_VARIABLES}))
            for source in snippets():
                out.write(dump({"source": source, "text": render(env, source, SNIPPET_VARIABLES)}))


if __name__ == "__main__":
    main()
