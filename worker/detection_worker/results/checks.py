"""Settings of destinations that would lose results or never end."""

from collections.abc import Iterable

from detection_contract.aws.arns import may_be_queue, parse_destination_arn
from detection_contract.aws.s3_prefixes import parse_s3_prefix
from detection_contract.result_keys import MAX_PREFIX_BYTES, is_plain, names_media, page_template
from detection_worker.errors import UsageError
from detection_worker.settings import ResultSettings


def check_destinations(results: ResultSettings, *, queues: Iterable[str | None]) -> None:
    """Refuse what no worker should start with.

    Args:
        results: Where results go.
        queues: URLs of the queues that the worker reads or dead-letters to, those of its outbox
            included, as far as known: what is published there would come back as work, or hide
            what cannot be delivered.

    Raises:
        UsageError: A destination is one of the queues or the outbox, a prefix leaves no room for
            keys or makes bad ones, results could be taken for media, or pages for results.
    """
    taken = [url for url in (*queues, results.outbox_url) if url]
    for option, arns in (
        ("--on-success", results.on_success),
        ("--on-failure", results.on_failure),
    ):
        for arn in map(parse_destination_arn, arns):
            if any(may_be_queue(arn, url) for url in taken):
                raise UsageError(
                    f"{option} names a queue of this worker: {arn.arn}\n"
                    "Its notifications would come back as messages. Publish to a queue of their "
                    "own."
                )
    _check_prefix("--cache", results.cache_url)
    _check_prefix("--results", results.results_url)
    _check_names(results)
    _check_pages(results)


def _check_prefix(option: str, url: str | None) -> None:
    if url is None:
        return
    prefix = parse_s3_prefix(url).prefix
    if len(prefix.encode()) > MAX_PREFIX_BYTES:
        raise UsageError(
            f"The prefix of {option} is longer than {MAX_PREFIX_BYTES} bytes\n"
            "Shorten it: keys below it need the rest of the 1024 bytes that S3 takes."
        )
    if not is_plain(prefix):
        raise UsageError(
            f"The prefix of {option} is {prefix!r}\n"
            "Leave out ? and folders . and ..: URLs of the objects below it would name others."
        )


def _check_names(results: ResultSettings) -> None:
    if results.results_url is None or parse_s3_prefix(results.results_url).prefix:
        return
    if names_media(results.results_key):
        raise UsageError(
            f"--results-key {results.results_key} gives results the names of media files\n"
            "In the bucket of the media its events would have each of them analysed in turn: end "
            "the key in .json, or add a prefix to --results."
        )


def _check_pages(results: ResultSettings) -> None:
    if not results.results_pages:
        return
    if results.results_url is None:
        raise UsageError("--results-pages needs --results\nName the S3 prefix of the results.")
    if page_template(results.results_key) is None:
        raise UsageError(
            f"--results-pages does not go with --results-key {results.results_key}\n"
            "End the key in .json: the page has the same key with .html."
        )
