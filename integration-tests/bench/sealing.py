"""Alternating rounds against two servers: what each does in a second, and the median of the ratios."""

import json
import os
import re
import statistics
import subprocess
import sys

import boto3
from botocore.config import Config

LUA = """
local urls, body, n = {}, nil, 0
for line in io.lines(os.getenv("URLS")) do urls[#urls + 1] = line end
if os.getenv("METHOD") == "PUT" then
  local file = io.open(os.getenv("BODY"), "rb"); body = file:read(tonumber(os.getenv("SIZE"))); file:close()
end
local id = 0
function setup(thread) thread:set("offset", id * 7919); id = id + 1 end
function request()
  n = n + 1
  return wrk.format(os.getenv("METHOD"), urls[(offset + n) % #urls + 1], nil, body)
end
function done(summary, latency)
  io.write(string.format("\\nRATE %f %d\\n", summary.requests / (summary.duration / 1e6), summary.errors.status + summary.errors.read))
end
"""
# Objects, bytes, connections, and what sealing may cost.
SCENARIOS = {
    "put-4m": ("PUT", 4 << 20, 8, 0.05),
    "get-4m": ("GET", 4 << 20, 8, 0.05),
    "put-64k": ("PUT", 64 << 10, 16, 0.10),
    "get-64k": ("GET", 64 << 10, 16, 0.10),
}
OBJECTS = {4 << 20: 64, 64 << 10: 1000}


def prepare(work, name, body):
    with open(f"{work}/{name}.data/bootstrap.json") as file:
        at = json.load(file)
    s3 = boto3.client(
        "s3",
        endpoint_url=at["s3_endpoint"],
        aws_access_key_id=at["access_key_id"],
        aws_secret_access_key=at["secret_access_key"],
        region_name=at["region"],
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
    s3.create_bucket(Bucket="bench")
    out = {}
    for scenario, (method, size, connections, _) in SCENARIOS.items():
        keys = [f"{scenario}/{n}" for n in range(OBJECTS[size])]
        if method == "GET":
            for key in keys:
                s3.put_object(Bucket="bench", Key=key, Body=body[:size])
        path = f"{work}/{name}-{scenario}"
        with open(path, "w") as file:
            for key in keys:
                call = "put_object" if method == "PUT" else "get_object"
                url = s3.generate_presigned_url(call, Params={"Bucket": "bench", "Key": key}, ExpiresIn=36000)
                file.write(url[len(at["s3_endpoint"]) :] + "\n")
        out[scenario] = (path, at["s3_endpoint"], connections)
    return out


def main():
    work, rounds, seconds = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    body = os.urandom(4 << 20)
    with open(f"{work}/body", "wb") as file:
        file.write(body)
    with open(f"{work}/wrk.lua", "w") as file:
        file.write(LUA)
    servers = {name: prepare(work, name, body) for name in ("null", "sealed")}
    print(f"{'scenario':10} {'sealed/s':>10} {'null/s':>10} {'sealing costs':>14} {'bound':>7}   ratios of the rounds")
    beyond = False
    for scenario, (method, size, _, bound) in SCENARIOS.items():
        rates = {"null": [], "sealed": []}
        for turn in range(rounds + 1):
            for name in ("null", "sealed") if turn % 2 else ("sealed", "null"):
                urls, endpoint, connections = servers[name][scenario]
                environment = dict(os.environ, METHOD=method, URLS=urls, BODY=f"{work}/body", SIZE=str(size))
                command = ["wrk", "-t2", f"-c{connections}", f"-d{seconds}s", "-s", f"{work}/wrk.lua", endpoint]
                said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
                rate, errors = re.search(r"^RATE (\S+) (\d+)$", said, re.M).groups()
                if int(errors):
                    sys.exit(f"{scenario} {name}: {errors} errors\n{said}")
                # The first round warms.
                if turn:
                    rates[name].append(float(rate))
        ratios = sorted(sealed / null for sealed, null in zip(rates["sealed"], rates["null"]))
        cost = 1 - statistics.median(ratios)
        beyond |= cost > bound
        medians = [statistics.median(rates[name]) for name in ("sealed", "null")]
        spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
        mark = "  BEYOND" if cost > bound else ""
        print(f"{scenario:10} {medians[0]:10.0f} {medians[1]:10.0f} {cost:13.1%} {bound:7.0%}   {spread}{mark}", flush=True)
    sys.exit(1 if beyond else 0)


main()
