"""schemathesis asks a running appliance all that its OpenAPI document allows, and more: `api.py PROGRAM`."""

import os
import subprocess
import sys
from pathlib import Path

from trouble import PASSWORD, USER, Trouble

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,negative_data_rejection,unsupported_method"


def main(program):
    trouble = Trouble(program)
    try:
        trouble.send_all()
        command = [Path(sys.executable).parent / "schemathesis", "run", f"{trouble.url}/api/v1/openapi.json", "--url", f"{trouble.url}/api/v1",
                   "--auth", f"{USER}:{PASSWORD}", "--checks", CHECKS, "--max-examples", "40", "--exclude-path", "/stream", "--seed", "1",
                   "--phases", "examples,coverage,fuzzing", "--request-timeout", "20", "--no-color"]
        # It leaves a cache in its working directory, and cannot send a mail by itself: serializers.py does that.
        environment = os.environ | {"SCHEMATHESIS_HOOKS": "serializers", "PYTHONPATH": str(Path(__file__).parent)}
        done = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=trouble.root, env=environment)
        print(done.stdout[-6000:], done.stderr[-2000:])
        if done.returncode != 0:
            print(trouble.log()[-2000:])
        return done.returncode
    finally:
        trouble.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
