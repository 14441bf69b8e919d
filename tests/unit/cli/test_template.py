"""Templates do what docker's do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casemate.cli.show.detail import open_maps
from casemate.cli.show.listing import Listing, show_rows
from casemate.cli.template.evaluate import Row, Template
from casemate.cli.template.problem import TemplateError

# what `docker context ls` lists when nothing is configured
ROW = {
    "Current": True,
    "Description": "Current DOCKER_HOST based configuration",
    "DockerEndpoint": "unix:///var/run/docker.sock",
    "Error": "",
    "Name": "default",
}
SOURCES = r"""{{.Name
{{.Name}} {{upper .Name}}
{{nope .Name}}
{{if .Current}}yes{{else}}no{{end}}
{{range split .DockerEndpoint "/"}}<{{.}}>{{end}}
{{split .DockerEndpoint "/"}}
{{index (split .DockerEndpoint "/") 1}}
{{len .Name}}
{{printf "%q %5s %v %T" .Name .Name .Current .Current}}
{{pad .Name 2 3}}|
{{truncate .Name 3}}
{{title .Name}}
{{json .Name}}
{{println .Name}}
{{$x := .Name}}{{$x}}
{{with .Error}}a{{else}}b{{end}}
{{eq .Name "default" "x"}} {{ne 1 2}} {{lt 1 2}}
{{.Name.Foo}}
{{index .Name 0}}
{{- .Name -}} x
{{/* c */}}a
a {{- /* c */ -}} b
{{"a\tb"}}
{{`raw`}}
{{1.5}} {{0x10}} {{true}} {{nil}}
{{and .Name .Error}}|{{or .Error .Name}}|{{not .Current}}
{{range $i, $e := split .Name "f"}}{{$i}}={{$e}},{{end}}
{{range $e := split .Name "f"}}{{$e}},{{end}}
{{join (split .Name "f") "-"}}
{{if}}x{{end}}
{{end}}
{{else}}
{{if .Name}}x
{{if .Name}}x{{else}}y{{else}}z{{end}}
{{.Name | upper | printf "%s-%s" "a"}}
{{print 1 2 "a" "b" 3}}
{{'a'}}
{{slice .Name 1 3}}
{{html "<"}}
{{range .Name}}{{.}}{{else}}e{{end}}
{{break}}
{{range split "a,b,c" ","}}{{if eq . "b"}}{{continue}}{{end}}{{.}}{{end}}
{{range split "a,b,c" ","}}{{if eq . "b"}}{{break}}{{end}}{{.}}{{end}}
{{len 3}}
{{lower 3}}
{{index "a"}}
{{upper}}
{{upper .Name .Name}}
{{$y}}
{{.Name}
{{"a}}
{{'ab'}}
{{ .Name }} {{-3}}
{{(split .Name "f")}}
{{eq 1 "a"}}
{{lt "a" "b"}} {{le "a" "a"}} {{gt 2 1}} {{ge 1 2}}
{{json (split "a<b" ",")}}
{{printf "%d|%5d|%-5d|%05d|%x|%.2f|%t|%c|%%" 5 5 5 5 255 1.234 true 65}}
{{printf "%d" "a"}} {{printf "%s"}} {{printf "x" 1}}
{{urlquery "a b"}}
{{.Name | len}}
{{ if eq .Name "default" }}d{{ else if .Error }}e{{ end }}
{{ if .Error }}d{{ else if .Name }}e{{else}}f{{ end }}
{{with $x := .Name}}{{$x}}{{end}}{{$x}}
{{$x := 1}}{{if .Name}}{{$x = 2}}{{end}}{{$x}}
{{.Name | 3}}
{{|}}
{{.Name |}}
{{()}}
{{}}
{{ }}
{{3 4}}
{{index (split .Name "f") 9}}
{{index 3 1}}
{{eq 1}}
{{eq}}
{{ne 1}}
{{not}}
{{and}}
{{printf "%v %v" 1.0 1e30}} {{1e6}} {{1e21}} {{0.00001}} {{3.14}}
{{printf "%6.2f|%-8s|%08.3f" 3.14159 "a" 3.14159}}
{{printf "%s" 3}} {{printf "%q" 65}} {{printf "%x" "hi"}}
{{printf "%!" 3}}
{{printf "%"}}
{{.Name}}{{"\n"}}x
{{range 3}}{{.}}{{end}}
{{$.Name}} {{with .Name}}{{$.Current}}{{end}}
{{(index (split .Name "f") 0) | upper}}
{{if and .Current (eq .Name "default")}}ok{{end}}
{{title "hello world-foo bar_baz"}}
{{.Name | truncate 3}}
{{upper 3 | lower}}
{{3 | lower}}
{{split .Name}}
{{a.b}}
{{.Name}}}}
}}
{{ {{ }}
{{.Name | printf "%-20s|"}}
{{"a" | printf "%s %s" "b"}}
{{printf "%5t|%v" true nil}}
{{/* x }}
{{- /* x */ -}} z
{{"\x41\u00e9\101"}}
{{010}} {{0b11}} {{1_000}} {{0o17}} {{1x}}
{{.Error | len}}
{{range .Error}}x{{end}}
{{slice .Name 5 99}}
{{pad "" 2 2}}|
{{if .Name}}{{end}}{{with .Current}}{{.}}{{end}}
{{print nil}} {{print true 1}}
{{len .Current}}
{{#}}
{{.Name}} {{ .Na-me }}
{{gt "a" 1}}
{{eq .Name nil}}
""".splitlines()
LAYOUTS = [
    "table {{.Name}}\\t{{.Description}}",
    "table {{upper .Name}}|{{.DockerEndpoint}}",
    "table {{.Name}} {{.Name}}\\t{{json .DockerEndpoint}}",
    "table {{truncate .Name 3}}\\t{{.Error}}",
    "table {{.Error}}\\t{{.Name}}",
    "{{.Name}}\\t{{.Name}}",
    "json",
]
DOCUMENTS = [
    "{{.Endpoints.docker.Host}}",
    "{{.Endpoints.nope}}",
    "{{.Endpoints.nope.Host}}",
    '{{index .Endpoints "x"}}',
    "{{json .Endpoints}}",
    "{{json .Endpoints.nope}}",
    "{{range $k, $v := .Endpoints}}{{$k}}:{{$v.Host}}{{end}}",
    "{{json .}}",
]
GOLDEN = os.path.join(os.path.dirname(__file__), "..", "..", "golden", "template", "docker28.json")
"""What docker 28's client answered: {"ls" or "inspect": {template: [exit status, output]}}."""
CASES = {"ls": [*SOURCES, *LAYOUTS], "inspect": DOCUMENTS}


def ask_docker(verb: str, source: str) -> list[int | str]:
    """Status and output of ``docker context VERB --format SOURCE`` where nothing is configured."""
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "DOCKER_CONFIG": "/nonexistent"}
    argv = ["docker", "context", verb, "--format", source]
    answer = subprocess.run(argv, capture_output=True, text=True, env=environment, check=False, timeout=30)
    return [answer.returncode, answer.stdout if answer.returncode == 0 else answer.stderr]


def docker_major() -> int:
    """Major version of the installed client, 0 without one."""
    docker = shutil.which("docker", path="/usr/local/bin:/usr/bin:/bin")
    if docker is None:
        return 0
    answer = subprocess.run([docker, "--version"], capture_output=True, text=True, check=True)
    return int(answer.stdout.split()[2].partition(".")[0])


def recorded() -> dict[str, dict[str, tuple[int, str]]]:
    """The golden answers; written anew by docker 28 itself when CASEMATE_UPDATE_GOLDEN is set."""
    if os.environ.get("CASEMATE_UPDATE_GOLDEN"):
        answers = {
            verb: {source: ask_docker(verb, source) for source in sources} for verb, sources in CASES.items()
        }
        with open(GOLDEN, "w", encoding="utf-8") as file:
            json.dump(answers, file, indent=1, sort_keys=True, ensure_ascii=False)
    with open(GOLDEN, encoding="utf-8") as file:
        found: dict[str, dict[str, tuple[int, str]]] = json.load(file)
    return found


DOCKER = recorded()

if docker_major() == 28:

    @pytest.mark.parametrize("verb", CASES)
    def test_the_recorded_answers_are_dockers(verb: str) -> None:
        assert {source: ask_docker(verb, source) for source in CASES[verb]} == DOCKER[verb]


@pytest.mark.parametrize("source", SOURCES)
def test_output_and_errors_are_dockers(source: str) -> None:
    status, answer = DOCKER["ls"][source]
    source = source.replace("\\t", "\t").replace("\\n", "\n")
    if status == 0:
        assert Template(source).execute(ROW) == answer[:-1]
    else:
        with pytest.raises(TemplateError) as caught:
            Template(source).execute(ROW)
        assert caught.value.why == answer.strip().removeprefix("template parsing error: ")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_listings_are_laid_out_as_dockers(layout: str, capfd: pytest.CaptureFixture[str]) -> None:
    titles = {
        "Name": "NAME",
        "Description": "DESCRIPTION",
        "DockerEndpoint": "DOCKER ENDPOINT",
        "Error": "ERROR",
    }
    show_rows(Listing(("Name",), titles), [ROW], layout)  # type: ignore[list-item]
    assert capfd.readouterr().out == DOCKER["ls"][layout][1]


@pytest.mark.parametrize("source", DOCUMENTS)
def test_documents_answer_as_dockers(source: str) -> None:
    document = {
        "Name": "default",
        "Metadata": {},
        "Endpoints": {"docker": {"Host": "unix:///var/run/docker.sock", "SkipTLSVerify": False}},
        "TLSMaterial": {},
        "Storage": {"MetadataPath": "<IN MEMORY>", "TLSPath": "<IN MEMORY>"},
    }
    opened = open_maps(document)
    opened["Endpoints"] = open_maps(document["Endpoints"], is_map=True)
    assert Template(source).execute(opened) == DOCKER["inspect"][source][1][:-1]


def test_unknown_keys_are_errors_with_a_near_name() -> None:
    with pytest.raises(TemplateError) as caught:
        Template("{{.Nmae}}").execute(ROW)
    assert caught.value.why == 'template: :1:2: executing "" at <.Nmae>: map has no entry for key "Nmae"'
    assert caught.value.hint == "did you mean .Name?"
    assert caught.value.exit_code == 1


def test_a_label_that_is_not_there_is_no_value_and_no_error() -> None:
    document = open_maps({"Config": {"Labels": {"a": "1"}}})
    assert Template("{{.Config.Labels.a}} {{.Config.Labels.b}}").execute(document) == "1 <no value>"
    with pytest.raises(TemplateError):
        Template("{{.Config.Label}}").execute(document)


def test_label_is_a_method_of_a_row() -> None:
    row = Row(Labels="a=1,b=2", Names="x")
    assert Template('{{.Label "b"}}|{{.Label "c"}}|{{.Names}}').execute(row) == "2||x"
    assert Template('{{.Label "b"}}').headings({}) == "LABEL"


def test_null_prints_as_go_prints_nil() -> None:
    assert Template("{{.A}}{{if .A}}x{{end}}").execute({"A": None}) == "<nil>"
    with pytest.raises(TemplateError, match="nil pointer evaluating"):
        Template("{{.A.B}}").execute({"A": None})


def test_maps_are_walked_in_order_of_their_keys() -> None:
    assert (
        Template("{{range $k, $v := .}}{{$k}}={{$v}};{{end}}").execute({"b": 2, "a": [1, "x"]})
        == "a=[1 x];b=2;"
    )


@given(st.text("{}.$|()\"'`abcNameifrangend -:=,\\\n0123", max_size=40))
def test_no_text_breaks_the_engine(source: str) -> None:
    try:
        Template(source).execute(ROW)
    except TemplateError as error:
        assert error.why.startswith("template: :")  # noqa: PT017 - the refusal is one of two good outcomes


def test_deep_nesting_is_refused_instead_of_overflowing() -> None:
    for source in (
        "{{if 1}}" * 5000,
        "{{" + "(" * 5000 + "1" + ")" * 5000 + "}}",
        "{{if 1}}{{else if 1}}" * 2000,
    ):
        with pytest.raises(TemplateError):
            Template(source)


def test_output_is_bounded() -> None:
    nested = (
        "{{range 1000}}" * 3
        + "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
        + "{{end}}" * 3
    )
    with pytest.raises(TemplateError, match="too long"):
        Template(nested).execute({})
    assert len(Template('{{printf "%999999999d" 1}}').execute({})) <= 10_000


def test_json_is_compact_and_not_html_escaped() -> None:
    assert Template("{{json .}}").execute({"a": "<é>"}) == json.dumps(
        {"a": "<é>"}, separators=(",", ":"), ensure_ascii=False
    )
