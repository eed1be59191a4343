"""What of the command line computes: parsing, formatting, exit codes, settings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from txpusher import _cli as cli
from txpusher import errors
from txpusher._cli import codes, completion, lines, output, publish, settings, sign
from txpusher.errors import PusherError

ROOT = Path(__file__).resolve().parents[2]


def parsed(*arguments: str) -> Any:
    return cli.make_parser().parse_args(list(arguments))


class TestImport:
    def test_parser_needs_neither_twisted_nor_what_commands_need(self) -> None:
        program = (
            "import sys, txpusher._cli\n"
            "txpusher._cli.make_parser()\n"
            "heavy = {'twisted', 'treq', 'OpenSSL', 'wsproto', 'nacl', 'crochet'}\n"
            "print(sorted(heavy & set(sys.modules)))"
        )
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=True,
        )
        assert done.stdout == "[]\n"


class TestExitCodes:
    #: Every class of error, and its code where the server cannot have acted.
    TABLE = [
        (errors.PusherError("x"), 1),
        (errors.ConfigurationError("x"), 1),
        (errors.InvalidRequestError("x"), 1),
        (errors.ClosedError("x"), 1),
        (errors.QueueFullError("x"), 1),
        (errors.BlockingCallError("x"), 1),
        (errors.WebHookError("x"), 1),
        (errors.HTTPError("x"), 4),
        (errors.RequestTimeoutError("x"), 4),
        (errors.APIError("x", status=302), 4),
        (errors.APIError("x", status=422), 3),
        (errors.BadRequestError("x"), 3),
        (errors.AuthenticationError("x"), 3),
        (errors.ForbiddenError("x"), 3),
        (errors.NotFoundError("x"), 3),
        (errors.ProxyAuthenticationError("x"), 3),
        (errors.PayloadTooLargeError("x"), 3),
        (errors.RateLimitedError("x"), 3),
        (errors.ServerError("x", status=503), 4),
        (errors.SubscriptionError("x"), 3),
        (errors.ConnectionClosedError("x"), 3),
    ]

    @pytest.mark.parametrize(("error", "code"), TABLE)
    def test_error_has_the_code_of_its_class(self, error: PusherError, code: int) -> None:
        assert codes.code_of(error) == code

    def test_every_class_of_error_is_in_the_table(self) -> None:
        assert {type(error).__name__ for error, _ in self.TABLE} == set(errors.__all__)

    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (errors.HTTPError("x", maybe_delivered=True), 5),
            (errors.RequestTimeoutError("x", maybe_delivered=True), 5),
            (errors.ServerError("x", status=503, maybe_delivered=True), 4),
        ],
    )
    def test_unknown_outcome_comes_before_its_reason_but_for_an_answer(
        self, error: PusherError, code: int
    ) -> None:
        assert codes.code_of(error) == code
        assert "may have been delivered" in codes.hint_for(error)

    def test_failure_is_one_line_whatever_its_message_is(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert codes.fail("a\n  b\x1b[31m.", 3, "do\nc") == 3
        assert capsys.readouterr().err == "txpusher: a b\\x1b[31m; do c\n"

    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("http://key:secret@host/apps/1", "http://...@host/apps/1"),
            ("http://key:one/secret@host/apps/1", "http://...@host/apps/1"),
            ("http://key:one@secret@host/apps/1", "http://...@host/apps/1"),
            ("http:%2F%2Fkey:secret@host%2Fapps", "http:%2F%2F...@host%2Fapps"),
            ("'http://key:secretsecr... has 330", "'http://...@ has 330"),
        ],
    )
    def test_failure_shows_no_login_of_a_url(
        self, url: str, shown: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        codes.fail(f"cannot read {url}", hint=f"give another than {url}")
        assert capsys.readouterr().err == (
            f"txpusher: cannot read {shown}; give another than {shown}\n"
        )

    @pytest.mark.parametrize(
        "text",
        [
            "https://KEY:SECRET@HOST/apps/APP_ID",
            "http://[user:password@]host[:port]",
            "mail me@example.com, not http://example.com/ or http://example.com:80/ ...",
        ],
    )
    def test_failure_shows_examples_as_they_are(
        self, text: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        codes.fail(text)
        assert capsys.readouterr().err == f"txpusher: {text}\n"

    def test_help_names_every_code(self) -> None:
        named = {int(line.split()[0]) for line in codes.TABLE.splitlines()[1:]}
        assert named == {0, 1, 2, 3, 4, 5, 130}


class TestUnforeseen:
    def test_error_that_nobody_foresaw_is_one_line(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def broken(arguments: object) -> None:
            raise ZeroDivisionError("by\nzero")

        monkeypatch.setattr(settings, "settings_of", broken)
        assert cli.main(["channels"]) == 1
        shown = capsys.readouterr()
        assert shown.out == ""
        assert shown.err.startswith("txpusher: unexpected ZeroDivisionError: by zero; ")
        assert shown.err.count("\n") == 1
        monkeypatch.setenv("TXPUSHER_TRACEBACK", "1")
        assert cli.main(["channels"]) == 1
        assert "Traceback" in capsys.readouterr().err

    @pytest.mark.parametrize(
        "before",
        [
            ["channels"],
            ["channels", "--url-file"],
            ["doctor", "--url-file"],
            ["auth", "private-a"],
            ["sign", "GET"],
        ],
    )
    def test_secret_of_a_url_among_the_arguments_is_not_repeated(
        self,
        before: list[str],
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setenv("PUSHER_URL", "http://key:secret@host/apps/1")
        with pytest.raises(SystemExit) as ended:
            sys.exit(cli.main([*before, "http://key:secret@host/apps/1"]))
        assert ended.value.code in (codes.FAILED, codes.USAGE)
        shown = capsys.readouterr().err
        assert "//...@host" in shown
        assert "secret" not in shown


class TestOutput:
    def test_table_is_aligned_and_no_name_steers_the_terminal(self) -> None:
        rows = [
            {"channel": "a\x1b[2Jb", "user_count": 12},
            {"channel": "longer-name", "occupied": True},
        ]
        columns = output.columns_of(["channel"], rows)
        assert columns == ["channel", "user_count", "occupied"]
        assert output.table(columns, rows, output.Paint(False)) == [
            "CHANNEL      USER COUNT  OCCUPIED",
            "a\\x1b[2Jb    12",
            "longer-name              yes",
        ]

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            ({"a": "ü\n"}, '{"a":"ü\\n"}'),
            ({"a": "\ud800"}, '{"a":"\\ud800"}'),
            ([1, None], "[1,null]"),
        ],
    )
    def test_ndjson_is_one_line_that_every_output_can_encode(
        self, value: object, text: str
    ) -> None:
        assert output.ndjson(value) == text
        text.encode()

    def test_paint_without_colours_leaves_text_alone(self) -> None:
        assert output.Paint(False)("red", "x") == "x"
        assert output.Paint(True)("red", "x") == "\x1b[31mx\x1b[0m"

    def test_digits_are_grouped(self) -> None:
        assert output.grouped(1234567) == "1\u00a0234\u00a0567"


class TestParser:
    @pytest.mark.parametrize(
        "arguments",
        [
            ("trigger", "--json", "a", "b", "c"),
            ("trigger", "a", "--retries", "1", "b", "--json", "c"),
            ("trigger", "a", "b", "c", "--timeout", "2.5"),
        ],
    )
    def test_options_stand_anywhere(self, arguments: tuple[str, ...]) -> None:
        assert parsed(*arguments).words == ["a", "b", "c"]

    def test_data_may_begin_with_a_hyphen(self) -> None:
        assert parsed("trigger", "a", "b", "-5").words == ["a", "b", "-5"]
        assert parsed("trigger", "a", "b", "--", "--x").words == ["a", "b", "--x"]
        assert parsed("trigger", "a", "b", "-").words == ["a", "b", "-"]

    def test_abbreviated_option_is_refused(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as ended:
            parsed("trigger", "a", "b", "--retr", "1")
        assert ended.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1

    @pytest.mark.parametrize("value", ["0", "-1", "x", "nan", "inf", ""])
    def test_timeout_is_a_number_of_seconds(
        self, value: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit):
            parsed("trigger", "a", "b", f"--timeout={value}")
        assert "number of seconds" in capsys.readouterr().err

    def test_every_command_has_help_of_at_most_80_columns(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COLUMNS", "200")
        found = completion.commands_of(cli.make_parser())
        assert len(found) > 10
        for command in found:
            parser = cli.make_parser()
            for word in command.words:
                parser = parser.commands[word]
            text = parser.format_help()
            assert max(map(len, text.splitlines())) <= 80, command.words
            assert parser.description, command.words

    def test_help_lists_every_command(self) -> None:
        parser = cli.make_parser()
        listed = [
            line.split("  ")[1]
            for line in parser.format_help().splitlines()
            if line.startswith("  ") and line.strip()
        ]
        for command in completion.commands_of(parser):
            if command.summary:
                assert " ".join(command.words) in listed


class TestWanted:
    def test_channels_are_separated_by_commas(self) -> None:
        wanted = publish.wanted_of(parsed("trigger", "a,b", "e", "d"))
        assert (wanted.channels, wanted.event, wanted.data) == (["a", "b"], "e", "d")

    def test_user_takes_the_place_of_the_channel(self) -> None:
        wanted = publish.wanted_of(parsed("trigger", "e", "--to-user", "u"))
        assert (wanted.channels, wanted.event, wanted.data) == ([], "e", "{}")


class TestSettings:
    @pytest.mark.parametrize(
        "text",
        [
            "http://k:s@h/apps/1\n",
            "\n# comment\n  http://k:s@h/apps/1  \n",
            "'http://k:s@h/apps/1'",
            "A=1\nPUSHER_URL=http://k:s@h/apps/1\nB=2",
            'export PUSHER_URL = "http://k:s@h/apps/1"',
        ],
    )
    def test_url_is_found_in_a_file(self, text: str, tmp_path: Path) -> None:
        file = tmp_path / "file"
        file.write_text(text)
        assert settings.read_url(str(file)) == "http://k:s@h/apps/1"

    @pytest.mark.parametrize("content", [b"", b"secret words\nmore", b"OTHER=secret", b"\xff"])
    def test_file_without_url_is_refused_and_not_quoted(
        self, content: bytes, tmp_path: Path
    ) -> None:
        file = tmp_path / "file"
        file.write_bytes(content)
        with pytest.raises(errors.ConfigurationError) as refused:
            settings.read_url(str(file))
        assert "secret" not in str(refused.value)
        assert str(file) in str(refused.value)

    def test_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(errors.ConfigurationError, match="No such file"):
            settings.read_url(str(tmp_path / "none"))

    def test_options_become_settings(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PUSHER_URL", "https://k:s@h/apps/1")
        monkeypatch.setenv("PUSHER_PROXY", "http://proxy")
        arguments = parsed("channels", "--timeout", "2", "--retries", "7")
        found = settings.settings_of(arguments)
        assert (found["timeout"], found["connect_timeout"]) == (2, 2)
        assert found["retry"].max_retries == 7
        assert found["http_proxy"] == "http://proxy"


class TestLines:
    def test_object_is_an_event_and_event_stands_for_name(self) -> None:
        event = lines.parse_object(b'{"channel": "c", "event": "e", "data": [1]}\r')
        assert event is not None
        assert (event.channel, event.name, event.data) == ("c", "e", [1])
        assert lines.parse_object(b" \r") is None

    @pytest.mark.parametrize("line", [b"x", b"[]", b'{"channel": "c"}', b"\xff", b"[" * 99999])
    def test_line_that_is_no_event_is_refused(self, line: bytes) -> None:
        with pytest.raises(errors.InvalidRequestError):
            lines.parse_object(line)

    def test_failures_that_follow_and_are_alike_are_one(self) -> None:
        same = errors.HTTPError("down", maybe_delivered=True)
        other = errors.InvalidRequestError("bad\nline")
        told = lines.failures([(3, same), (1, same), (2, same), (5, same), (6, other)])
        assert [line.partition(";")[0] for line in told] == [
            "lines 1 to 3: down",
            "line 5: down",
            "line 6: bad line",
        ]

    @pytest.mark.parametrize(("failed", "unknown", "code"), [(0, 0, 0), (2, 0, 1), (2, 1, 5)])
    def test_ending_has_a_code(self, failed: int, unknown: int, code: int) -> None:
        ending = lines.Ending(1000, failed, unknown, 2.0)
        assert ending.code == code
        text = ending.in_words(output.Paint(False))
        assert text.startswith("1\u00a0000 events sent in 2.0 s, 500 per second")
        assert ("failed" in text) is bool(failed)


class TestWebhookInput:
    @pytest.mark.parametrize("end", [b"\n", b"\r\n"])
    def test_empty_line_separates_headers_and_body(self, end: bytes) -> None:
        message = end.join([b"A: 1", b"B: 2", b"", b"body" + end + end + b"more"])
        headers, body = sign.split_message(message)
        assert sign.header_pairs(headers) == [("A", "1"), ("B", "2")]
        assert body == b"body" + end + end + b"more"

    def test_message_without_a_body_is_all_headers(self) -> None:
        assert sign.split_message(b"A: 1\n") == (b"A: 1\n", b"")
