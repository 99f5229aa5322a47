"""The settings of the long-running parts."""

import pytest

from tasks.cli.invocation import Invocation
from tasks.cli.running import _logging


@pytest.mark.parametrize(("json", "format_"), [(True, "json"), (False, "text")])
def test_with_json_the_log_is_json_lines_for_it_is_the_stream_of_these(tmp_path, json, format_):
    config = tmp_path / "caskeeper.yaml"
    config.write_text(f"cachedir: {tmp_path}/cache\n")
    invocation = Invocation(config=str(config), json=json)
    assert _logging(invocation).log.format == format_
    assert invocation.settings.log.format == "text"
