"""Plan a job: `plan.py --pictures 1e9 --machines 1000 --rate 10` says what it takes.

Hours are simulated, with machines that are slow and that fail. See docs/scale.md.
"""

from functools import partial

from core.errors import UserError
from core.runtime import cli


def options(parser: cli.Parser) -> None:
    """Add the options."""
    parser.add_argument("--pictures", type=float, required=True, help="how many")
    parser.add_argument("--machines", type=int, required=True, help="how many")
    parser.add_argument("--rate", type=float, required=True, help="pictures a second of a machine")
    parser.add_argument("--input-bytes", type=int, default=22_000, help="of an input, on average")
    parser.add_argument("--output-bytes", type=int, default=36_000, help="of a result, on average")
    failures = "of a machine in a million hours; preempted ones 10,000"
    parser.add_argument("--failures", type=float, default=160.0, help=failures)


def show(args: cli.Args) -> None:
    """Print the plan."""
    cli.require_at_least(args, machines=1, pictures=1, input_bytes=1, output_bytes=1, failures=0)
    if not args.rate > 0:
        raise UserError(f"--rate {args.rate:g}: above 0")
    if not args.machines <= min(args.pictures, 100_000):
        raise UserError(f"--machines {args.machines}: at most 100,000, and a picture for each")
    from core.jobs.fleet import Fleet
    from core.jobs.plan import Sizes, plan

    fleet = Fleet(args.machines, args.rate, failures_per_million_hours=args.failures)
    for line in plan(int(args.pictures), fleet, Sizes(args.input_bytes, args.output_bytes)):
        print(line)


main = partial(cli.main, __doc__, options, show)

if __name__ == "__main__":
    raise SystemExit(main())
