#!/usr/bin/env bash
# The examples for KServe and Ray Serve, each with its own packages: a digit is sent to both and must come back.
# shellcheck source=.ci/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

build_wheel
digit=$clone/examples/digits/digit-7-sample-0007.png

ask() { # EXPECTED URL CURL_OPTION...: the answer, once the server is there, must have a line with EXPECTED
  local expected=$1 url=$2 answer
  shift 2
  answer=$(curl -sS --retry 120 --retry-delay 1 --retry-all-errors --fail "$@" "$url")
  echo "$answer"
  grep -qE -- "$expected" <<<"$answer"
}

bad() { # STATUS URL CURL_OPTION...: an answer with this status
  local status=$1 url=$2
  shift 2
  [[ $(curl -sS -o /dev/null -w '%{http_code}' "$@" "$url") == "$status" ]]
}

say "KServe"
venv kserve "$wheel" kserve
"$scratch/kserve/bin/python" "$clone/examples/kserve_model.py" --model_name digits --http_port 8091 --grpc_port 8092 &
server=$!
stop() { # EXIT_CODE
  kill "$server" 2>/dev/null || true
  finish "$1"
}
trap 'stop $?' EXIT
infer() { # IMAGE: a request with an image as a BYTES tensor, in base64
  printf '{"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": ["%s"]}]}' "$(base64 -w 0 "$1")"
}
infer "$digit" >"$scratch/request"
sed 's/PNG/NOT/' "$digit" >"$scratch/damaged.png"
infer "$scratch/damaged.png" >"$scratch/damaged"
url=http://127.0.0.1:8091/v2/models/digits/infer
ask '"probabilities"' "$url" --data "@$scratch/request" -H 'Content-Type: application/json'
bad 400 "$url" --data "@$scratch/damaged" -H 'Content-Type: application/json'
kill "$server"

say "Ray Serve"
venv ray "$wheel" 'ray[serve]'
(cd "$scratch" && exec ray/bin/serve run --app-dir "$clone/examples" ray_serve:app) &
server=$!
ask '"label": ?"7"' http://127.0.0.1:8000/ --data-binary "@$digit"
bad 422 http://127.0.0.1:8000/ --data-binary nonsense
