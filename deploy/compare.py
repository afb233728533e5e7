#!/usr/bin/env python3
"""Holds the two stacks against each other, and against the program: compare.py in the environment of .ci/cfn-lint.

Both give the function the same environment variables, which are ones that it reads; the same rights; the same
runtime, size and limits; both make the same alarms.
"""

import re
import sys
from pathlib import Path

import hcl2
from cfnlint.decode import cfn_yaml

ROOT = Path(__file__).resolve().parent.parent
SAM = ROOT / "deploy/sam/template.yaml"
TERRAFORM = ROOT / "deploy/terraform"
PROGRAM = ROOT / "crates/obsync/src"


def plain(node):
    """What python-hcl2 read, with names and texts without the quotes that it leaves around them."""
    if isinstance(node, dict):
        return {plain(key): plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [plain(item) for item in node]
    return node.strip('"') if isinstance(node, str) else node


def terraform():
    """All files of the module, which are parsed on the way: kind of block → list of blocks."""
    blocks = {}
    for path in sorted(TERRAFORM.glob("*.tf")):
        with path.open() as file:
            for kind, content in hcl2.load(file).items():
                blocks.setdefault(plain(kind), []).extend(plain(content))
    return blocks


def found(blocks, kind, *names):
    for block in blocks[kind]:
        for name in names:
            block = block.get(name) if isinstance(block, dict) else None
        if block is not None:
            return block
    sys.exit(f"{TERRAFORM}: there is no {kind} {' '.join(names)}")


def listed(value):
    return value if isinstance(value, list) else [value]


def sam_figures(template):
    resources = template["Resources"]
    parameters = template["Parameters"]
    function = resources["Function"]["Properties"]
    queue = resources["Queue"]["Properties"]
    alarms = [r["Properties"] for r in resources.values() if r["Type"] == "AWS::CloudWatch::Alarm"]
    return {
        "environment": sorted(function["Environment"]["Variables"]),
        "rights": sorted(sam_actions(resources["FunctionRole"]["Properties"]["Policies"])),
        "runtime": function["Runtime"],
        "handler": function["Handler"],
        "architecture": parameters["Architecture"]["Default"],
        "memory": parameters["MemorySize"]["Default"],
        "timeout": parameters["Timeout"]["Default"],
        "concurrency": parameters["MaximumConcurrency"]["Default"],
        "schedules": [parameters[name]["Default"] for name in ("IncrementalSchedule", "CompleteSchedule")],
        "hidden for": queue["VisibilityTimeout"],
        "tries": queue["RedrivePolicy"]["maxReceiveCount"],
        "alarms": sorted((a["Namespace"], a["MetricName"], a["ComparisonOperator"], a["Threshold"]) for a in alarms),
    }


def sam_actions(node):
    if isinstance(node, dict):
        for key, value in node.items():
            yield from listed(value) if key == "Action" else sam_actions(value)
    elif isinstance(node, list):
        for item in node:
            yield from sam_actions(item)


def terraform_figures(blocks):
    function = found(blocks, "resource", "aws_lambda_function", "obsync")
    queue = found(blocks, "resource", "aws_sqs_queue", "vaults")
    policy = found(blocks, "data", "aws_iam_policy_document", "function")
    alarms = [a for b in blocks["resource"] for a in b.get("aws_cloudwatch_metric_alarm", {}).values()]
    environment = next(b["environment"] for b in blocks["locals"] if "environment" in b)
    tries = re.search(r"maxReceiveCount\W+(\d+)", str(queue["redrive_policy"]))

    def default(name):
        return found(blocks, "variable", name)["default"]

    return {
        "environment": sorted(environment),
        "rights": sorted(terraform_actions(policy)),
        "runtime": function["runtime"],
        "handler": function["handler"],
        "architecture": default("architecture"),
        "memory": default("memory_size"),
        "timeout": default("timeout"),
        "concurrency": default("maximum_concurrency"),
        "schedules": [default("incremental_schedule"), default("complete_schedule")],
        "hidden for": queue["visibility_timeout_seconds"],
        "tries": int(tries.group(1)) if tries else None,
        "alarms": sorted((a["namespace"], a["metric_name"], a["comparison_operator"], a["threshold"]) for a in alarms),
    }


def terraform_actions(node):
    if isinstance(node, dict):
        for key, value in node.items():
            yield from value if key == "actions" else terraform_actions(value)
    elif isinstance(node, list):
        for item in node:
            yield from terraform_actions(item)


def faults(sam, module):
    for what, of_sam in sam.items():
        of_module = module[what]
        if of_sam != of_module:
            yield f"{what}: SAM has {of_sam}, Terraform has {of_module}"
        if not of_sam:
            yield f"{what}: nothing was found; is deploy/compare.py still right?"
    program = "\n".join(path.read_text() for path in PROGRAM.rglob("*.rs"))
    for name in sam["environment"]:
        if f'"{name}"' not in program:
            yield f"environment: the program reads no {name}"


def main():
    sam = sam_figures(cfn_yaml.load(SAM))
    problems = list(faults(sam, terraform_figures(terraform())))
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        sys.exit(1)
    counts = ", ".join(f"{len(sam[what])} {what}" for what in ("environment", "rights", "alarms"))
    print(f"the stacks agree: {counts}")


if __name__ == "__main__":
    main()
