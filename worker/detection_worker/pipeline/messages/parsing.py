"""What a message asks for, without events about objects that workers wrote themselves."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from detection_contract.aws.s3_prefixes import S3PrefixLocation, parse_s3_prefix
from detection_contract.aws.s3_urls import S3Location, s3_uri
from detection_contract.media_types import kind_of_name
from detection_contract.messages import ParsedBody, parse_body
from detection_contract.result_keys import key_pattern, names_media, page_template
from detection_worker.settings import ResultSettings, Settings

Parse = Callable[[str], ParsedBody]
"""Returns what a body asks for; raises ``InvalidMessage`` as ``parse_body`` does."""

_CACHE_ENTRY: Final = re.compile("[0-9a-f]{64}.*")


def body_parser(settings: Settings) -> Parse:
    """Return the parser of a worker's messages.

    If results or cache entries are written to the bucket whose events feed the queue, each of
    them becomes an event too. A detection of it would fail, and the stored failure would be the
    next event, for ever.
    """
    parse = partial(parse_body, endpoint_hosts=settings.aws.endpoint_hosts)
    own = _own_objects(settings.results)
    if not own:
        return parse
    return lambda body: _without(own, parse(body))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Own:
    """Objects that workers write.

    Attributes:
        what: One of them, in words.
        place: Bucket and prefix.
        keys: Keys below the prefix.
        like_media: Some of them may end like the names of media.
    """

    what: str
    place: S3PrefixLocation
    keys: re.Pattern[str]
    like_media: bool

    def holds(self, location: S3Location) -> bool:
        """Return whether an object is one of them.

        Media may lie beside them, surely so without a prefix; a template may not tell them apart.
        """
        bucket, prefix = self.place.bucket, self.place.prefix
        if location.bucket != bucket or not location.key.startswith(prefix):
            return False
        if kind_of_name(location.key) is not None and not self.like_media:
            return False
        return self.keys.fullmatch(location.key.removeprefix(prefix)) is not None


def _own_objects(results: ResultSettings) -> list[_Own]:
    own = []
    if results.results_url:
        place, template = parse_s3_prefix(results.results_url), results.results_key
        page = page_template(template)
        if page is not None:
            own.append(
                _Own(
                    what="the page of a result",
                    place=place,
                    keys=key_pattern(page),
                    like_media=False,
                )
            )
        ends_with_id = template.endswith("{request_id}")
        own.append(
            _Own(
                what="the stored result",
                place=place,
                keys=key_pattern(template),
                like_media=bool(place.prefix) and (names_media(template) or ends_with_id),
            )
        )
    if results.cache_url:
        place = parse_s3_prefix(results.cache_url)
        own.append(_Own(what="the cache entry", place=place, keys=_CACHE_ENTRY, like_media=False))
    return own


def _without(own: list[_Own], parsed: ParsedBody) -> ParsedBody:
    if parsed.kind != "s3_event":
        return parsed
    kept, skipped = [], []
    for request in parsed.requests:
        found = next((each for each in own if each.holds(request.location)), None)
        if found is None:
            kept.append(request)
        else:
            skipped.append(f"{found.what} {s3_uri(request.location)}")
    return replace(
        parsed,
        kind="s3_event" if kept else "test_event",
        requests=tuple(kept),
        skipped=(*parsed.skipped, *skipped),
    )
