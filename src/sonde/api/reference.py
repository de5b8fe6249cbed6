"""The reference of the HTTP api as one HTML page, made from the OpenAPI document."""

import json
import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final
from urllib.parse import quote, urlencode

from sonde.api.page import layout
from sonde.api.responses import WHEN
from sonde.problem import MEDIA_TYPE

Json = Mapping[str, Any]
_CODE: Final = re.compile(r"`([^`]+)`")
_LIMITS: Final = (
    ("minimum", "maximum", ""),
    ("minLength", "maxLength", " characters"),
    ("minItems", "maxItems", " items"),
)


def reference_page(document: Json, base: str) -> str:
    """All routes by group, then all shapes. ``base`` is what the examples ask."""
    groups = [(tag, list(_operations(document, tag["name"]))) for tag in document["tags"]]
    groups = [(tag, operations) for tag, operations in groups if operations]
    sections = "".join(_group(document, tag, operations, base) for tag, operations in groups)
    shapes = "".join(_shape(name, schema) for name, schema in sorted(document["components"]["schemas"].items()))
    body = (
        f'<div class="reference"><nav class="contents">{_contents(groups)}</nav><main><h1>HTTP api</h1>'
        f"<p>{_text(document['info']['description'])}</p>{_statuses()}{sections}"
        f'<section><h2 id="shapes">Shapes</h2>{shapes}</section></main></div>'
    )
    return layout("HTTP api", body, here="/docs")


def _operations(document: Json, tag: str) -> Iterator[tuple[str, str, Json]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if tag in operation["tags"]:
                yield method.upper(), path, operation


def _contents(groups: list[tuple[Json, list[tuple[str, str, Json]]]]) -> str:
    parts = []
    for tag, operations in groups:
        links = "".join(
            f'<li><a href="#{_anchor(method, path)}">{_badge(method)}{escape(path)}</a></li>'
            for method, path, _ in operations
        )
        parts.append(f"<details open><summary>{escape(tag['name'])}</summary><ul>{links}</ul></details>")
    return "".join(parts) + '<a href="#shapes">Shapes</a>'


def _group(document: Json, tag: Json, operations: list[tuple[str, str, Json]], base: str) -> str:
    found = "".join(_operation(method, path, operation, base) for method, path, operation in operations)
    return f"<section><h2>{escape(tag['description'])}</h2>{found}</section>"


def _operation(method: str, path: str, operation: Json, base: str) -> str:
    return (
        f'<article id="{_anchor(method, path)}"><h3>{_badge(method)}<code>{escape(path)}</code>{_scope(operation)}</h3>'
        f"<p>{_text(operation.get('description', ''))}</p>{_parameters(operation)}{_body(operation)}"
        f"{_responses(operation)}<pre><code>{escape(_curl(method, path, operation, base))}</code></pre></article>"
    )


def _scope(operation: Json) -> str:
    scopes = next((way["token"] for way in operation.get("security", []) if "token" in way), None)
    said = f"needs {scopes[0]}" if scopes else "open to all"
    return f'<span class="scope">{said}</span>'


def _parameters(operation: Json) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(p['name'])}</code></td><td>{_type(p['schema'])}{_need(p)}</td>"
        f"<td>{_text(p.get('description', p['schema'].get('description', '')))}</td></tr>"
        for p in operation.get("parameters", [])
        if p["in"] != "cookie"
    )
    return f"<table><thead><tr><th>Parameter</th><th>Type</th><th></th></tr></thead>{rows}</table>" if rows else ""


def _need(parameter: Json) -> str:
    if parameter.get("required"):
        return ' <span class="need">required</span>'
    default = parameter["schema"].get("default")
    return f' <span class="quiet">default {escape(str(default))}</span>' if default not in {None, ""} else ""


def _body(operation: Json) -> str:
    content = operation.get("requestBody", {}).get("content", {})
    rows = "".join(
        f"<tr><td><code>{escape(media)}</code></td><td>{_type(found['schema'])}</td></tr>"
        for media, found in content.items()
    )
    return f"<table><thead><tr><th>Body</th><th></th></tr></thead>{rows}</table>" if rows else ""


def _responses(operation: Json) -> str:
    rows, problems = [], []
    for status, response in sorted(operation["responses"].items()):
        if MEDIA_TYPE in response.get("content", {}):
            problems.append(status)
            continue
        types = [_type(content["schema"]) for content in response.get("content", {}).values() if content.get("schema")]
        kinds = " or ".join(dict.fromkeys(types))
        rows.append(_row(status, kinds, _text(response["description"])))
    if problems:
        rows.append(_row(" ".join(problems), '<a href="#Problem">Problem</a>', "what happened and what to do"))
    head = "<thead><tr><th>Status</th><th>Answer</th><th></th></tr></thead>"
    return f"<table>{head}{''.join(rows)}</table>"


def _row(status: str, kinds: str, said: str) -> str:
    return f'<tr><td class="status s{status[0]}">{status}</td><td>{kinds}</td><td>{said}</td></tr>'


def _statuses() -> str:
    rows = "".join(
        f'<tr><td class="status s4">{status}</td><td colspan="2">{_text(text)}</td></tr>'
        for status, text in WHEN.items()
    )
    return f"<table><thead><tr><th>Problem</th><th colspan=2>When</th></tr></thead>{rows}</table>"


def _shape(name: str, schema: Json) -> str:
    required = schema.get("required", [])
    rows = "".join(
        f"<tr><td><code>{escape(member)}</code></td><td>{_type(found)}{'' if member in required else _OPTIONAL}</td>"
        f"<td>{_text(found.get('description', ''))}</td></tr>"
        for member, found in schema.get("properties", {}).items()
    )
    said = f"<p>{_text(schema['description'])}</p>" if "description" in schema else ""
    return f'<article id="{escape(name)}"><h3><code>{escape(name)}</code></h3>{said}<table>{rows}</table></article>'


_OPTIONAL: Final = ' <span class="quiet">optional</span>'


def _type(schema: Json) -> str:
    """A type in a few words, with links to named shapes."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rsplit("/", 1)[1])
        return f'<a href="#{name}">{name}</a>'
    if "enum" in schema or "const" in schema:
        return " | ".join(f"<code>{escape(str(value))}</code>" for value in schema.get("enum", [schema.get("const")]))
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(choice) for choice in schema["anyOf"]))
    kinds = schema.get("type", "anything")
    if kinds == "array":
        return f"array of {_type(schema.get('items', {}))}"
    if kinds == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"object of {_type(schema['additionalProperties'])}"
    words = kinds if isinstance(kinds, str) else " or ".join(kinds)
    limits = [
        _span(schema.get(least), schema.get(most)) + unit
        for least, most, unit in _LIMITS
        if least in schema or most in schema
    ]
    return escape(", ".join([words, *limits, *([schema["format"]] if "format" in schema else [])]))


def _span(least: float | None, most: float | None) -> str:
    if least is not None and most is not None:
        return f"{least:,} to {most:,}"
    return f"at least {least:,}" if most is None else f"at most {most:,}"


def _curl(method: str, path: str, operation: Json, base: str) -> str:
    parts = [f'curl "{base}{_example_url(path, operation)}"']
    if operation.get("security"):
        parts.append('-H "Authorization: Bearer $SONDE_TOKEN"')
    content = operation.get("requestBody", {}).get("content", {})
    for media, found in list(content.items())[:1]:
        example = found.get(
            "example", {"sql": "select count(*) from readings"} if media == "application/json" else None
        )
        if example is None:
            parts.append("-d link=…")
        else:
            parts.append(f'-H "Content-Type: {media}"')
            parts.append(f"-d '{json.dumps(example)}'")
    elif_post = method == "POST" and not content
    return " \\\n  ".join([*parts, "-X POST"] if elif_post else parts)


def _example_url(path: str, operation: Json) -> str:
    query = {}
    for parameter in operation.get("parameters", []):
        example = (parameter["schema"].get("examples") or [""])[0]
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", quote(str(example)))
        elif parameter["in"] == "query" and parameter.get("required"):
            query[parameter["name"]] = example
    return f"{path}?{urlencode(query)}" if query else path


def _badge(method: str) -> str:
    return f'<span class="method {method.lower()}">{method}</span>'


def _anchor(method: str, path: str) -> str:
    return f"{method.lower()}{re.sub(r'[^a-z0-9]+', '-', path)}".rstrip("-")


def _text(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", escape(" ".join(text.split()), quote=False))
