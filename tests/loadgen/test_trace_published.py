"""Traces as their publishers ship them: the first lines of each file, byte for byte, and what can be wrong in them."""

import gzip
from pathlib import Path

import pytest

from loadgen.trace import Row, TraceError, has_arrivals, lengths, rows

AZURE_2023 = (
    b"TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
    b"2023-11-16 18:15:46.6805900,374,44\r\n"
    b"2023-11-16 18:15:50.9951690,396,109\r\n"
    b"2023-11-16 18:16:00.0000000,197,183"
)
AZURE_2024 = (
    b"TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:10+00:00,2162,5\n2024-05-10 00:01:00.5+00:00,7,8\n"
)
BURSTGPT_1 = (
    b"Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    b"5,ChatGPT,472,18,490,Conversation log\n"
    b"45,ChatGPT,1087,230,1317,Conversation log\n"
    b"118,GPT-4,417,276,693,Conversation log\n"
)
BURSTGPT_3 = (
    b"Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    b"19440110.0,1722ac82,43,GPT-4,906,446,1352,Conversation log\n"
    b"19440161.0,,2,ChatGPT,36,0,36,API log\n"
    b"19440192.5,a5c69b35,2,ChatGPT,36,29,65,API log\n"
)
MOONCAKE = (
    b'{"timestamp": 27482, "input_length": 1025, "output_length": 52, "hash_ids": [46, 47, 2353]}\n'
    b'{"timestamp": 30535, "input_length": 600, "output_length": 26, "hash_ids": [46, 2366]}'
)
OUR_JSON = (
    b'{"arrival_s": 0.5, "input_tokens": 600, "output_tokens": 3, "hash_ids": [1, 2], "client": "a"}\n\n'
    b'{"arrival_s": 0.5, "input_tokens": 5, "output_tokens": 3}\n'
)


def read(folder: Path, data: bytes) -> list[Row]:
    path = folder / "download"
    path.write_bytes(data)
    return list(rows(path))


def test_azure_files_are_read_with_their_wall_clock_and_without_a_last_line_end(tmp_path: Path) -> None:
    found = read(tmp_path, AZURE_2023)
    assert [row.arrival_s for row in found] == pytest.approx([0, 4.314579, 13.31941], abs=1e-9)
    assert [(row.input_tokens, row.output_tokens) for row in found] == [(374, 44), (396, 109), (197, 183)]


def test_azure_files_of_2024_have_an_offset_and_may_lack_fractions(tmp_path: Path) -> None:
    assert [row.arrival_s for row in read(tmp_path, AZURE_2024)] == [0, 50.5]


def test_midnight_and_leap_days_are_crossed(tmp_path: Path) -> None:
    head = b"TIMESTAMP,ContextTokens,GeneratedTokens\n"
    found = read(tmp_path, head + b"2024-02-28 23:59:59.5,1,1\n2024-02-29 00:00:00.0,1,1\n2024-03-01 00:00:00.0,1,1\n")
    assert [row.arrival_s for row in found] == [0, 0.5, 86400.5]


def test_burstgpt_files_count_from_their_first_row(tmp_path: Path) -> None:
    assert read(tmp_path, BURSTGPT_1) == [Row(0, 0.0, 472, 18), Row(1, 40.0, 1087, 230), Row(2, 113.0, 417, 276)]


def test_burstgpt_sessions_are_clients_and_failed_requests_are_left_out(tmp_path: Path) -> None:
    assert read(tmp_path, BURSTGPT_3) == [
        Row(0, 0.0, 906, 446, client="1722ac82"),
        Row(1, 82.5, 36, 29, client="a5c69b35"),
    ]


def test_mooncake_lines_are_in_milliseconds_and_keep_their_ids(tmp_path: Path) -> None:
    expected = [Row(0, 27.482, 1025, 52, (46, 47, 2353)), Row(1, 30.535, 600, 26, (46, 2366))]
    assert read(tmp_path, MOONCAKE) == expected
    assert read(tmp_path, gzip.compress(MOONCAKE)) == expected


def test_json_lines_may_have_our_own_names(tmp_path: Path) -> None:
    assert read(tmp_path, OUR_JSON) == [Row(0, 0.5, 600, 3, (1, 2), "a"), Row(1, 0.5, 5, 3)]


def test_json_lines_may_hold_lengths_only(tmp_path: Path) -> None:
    path = tmp_path / "l.jsonl"
    path.write_text('{"input_tokens": 7, "output_tokens": 3}\n')
    assert not has_arrivals(path)
    assert list(lengths(path)) == [Row(0, 0.0, 7, 3)]
    with pytest.raises(TraceError, match=r"l\.jsonl:1: no arrival_s; .* add --rate"):
        list(rows(path))


AZURE, BURST = AZURE_2023.splitlines(True)[0], BURSTGPT_1.splitlines(True)[0]
MOON = b'{"timestamp": 5, "input_length": 9, "output_length": 2}\n'


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (AZURE, ": no rows; expected at least one request"),
        (AZURE + b"2023-11-16 18:15,374,44\n", ":2: TIMESTAMP '2023-11-16 18:15'; expected a time such as 2023"),
        (AZURE + b"2023-13-16 18:15:00,374,44\n", ":2: TIMESTAMP '2023-13-16 18:15:00'; expected a time"),
        (
            AZURE + b"2023-11-16 18:15:01,3,4\n2023-11-16 18:15:00,3,4\n",
            r":3: TIMESTAMP -1\.0 is before 0\.0; expected",
        ),
        (
            AZURE + b"2024-05-10 00:00:00+00:00,1,1\n2024-05-10 00:00:00+02:00,1,1\n",
            r":3: TIMESTAMP '2024-05-10 00:00:00\+02:00'; expected .* same offset",
        ),
        (AZURE + b"2023-11-16 18:15:01,-3,0\n", ":2: ContextTokens '-3'; expected a whole number"),
        (AZURE + b"2023-11-16 18:15:01,3\n", ":2: 2 columns; expected 3"),
        (BURST + b"5,ChatGPT,0,0,0,API log\n", ": no rows; expected at least one request"),
        (BURST + b"nan,ChatGPT,4,4,8,API log\n", ":2: Timestamp 'nan'; expected seconds"),
        (
            BURST + b"9,ChatGPT,4,4,8,API log\n8,ChatGPT,4,4,8,API log\n",
            r":3: Timestamp -1\.0 is before 0\.0; expected",
        ),
        (
            MOON + b'{"timestamp": 5, "input_length": 9, "outp',
            ":2: .* is not whole JSON .*; expected one object a line",
        ),
        (
            MOON + b'{"timestamp": 4, "input_length": 9, "output_length": 2}\n',
            r":2: timestamp 0\.004 s is before 0\.005 s",
        ),
        (MOON + b"[1]\n", r":2: '\[1\]'; expected one object a line"),
        (MOON + MOON.replace(b"9", b"0"), ":2: input_length 0; expected a whole number of tokens"),
        (MOON + MOON.replace(b"9", b"true"), ":2: input_length True; expected a whole number of tokens"),
        (MOON + MOON.replace(b": 2", b": 2.5"), r":2: output_length 2\.5; expected a whole number of tokens"),
        (MOON + MOON.replace(b"5", b"-5"), ":2: timestamp -5; expected milliseconds since the start"),
        (MOON + MOON.replace(b"5", b"null"), ":2: timestamp None; expected milliseconds since the start"),
        (MOON + MOON.replace(b"5", b"NaN"), ":2: .* is not whole JSON"),
        (
            MOON + MOON.replace(b"}", b', "hash_ids": [1, 2]}'),
            ":2: 2 hash_ids for 9 input_length; expected .* tokens, 1",
        ),
        (MOON + MOON.replace(b"}", b', "hash_ids": ["x"]}'), r":2: hash_ids \['x'\]; expected a list of whole numbers"),
        (MOON + MOON.replace(b"}", b', "turn": 1}'), ":2: unknown turn; expected hash_ids, input_length"),
        (b'{"chat_id": 1, "timestamp": 0.1, "input_length": 9, "output_length": 2}\n', ":1: an object with chat_id"),
        (b'{"prompt": 1}\n', r":1: an object with prompt; expected \[arrival_s, \]input_tokens"),
        (
            b'{"arrival_s": 0, "input_tokens": 1, "output_tokens": 1, "client": []}\n',
            r":1: client \[\]; expected a name",
        ),
        (gzip.compress(MOON * 2, mtime=0)[:-9], ":3: damaged gzip data"),
    ],
)
def test_what_is_wrong_is_told_with_its_line_and_what_was_expected(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(TraceError, match="download" + message):
        read(tmp_path, data)
