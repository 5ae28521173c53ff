"""How locales write numbers (CLDR), for western digits."""

from __future__ import annotations

import re
from typing import NamedTuple

_LOCALE = re.compile(r"([A-Za-z]{2})[_-]([A-Za-z]{2})")
_SPACE = "\u00a0"
_APOSTROPHE = "\u2019"


class NumberStyle(NamedTuple):
    """The signs of a locale; ``groups`` is the size of the groups beyond the first, of 3."""

    decimal: str
    separator: str
    groups: int = 3

    def grouped(self, number: str) -> str:
        """Return a number, written with digits and perhaps a point, in this style."""
        whole, _, fraction = number.removeprefix("-").partition(".")
        head, tail = whole[:-3], whole[-3:]
        first = len(head) % self.groups
        groups = [head[:first]] if first else []
        groups += [head[at : at + self.groups] for at in range(first, len(head), self.groups)]
        text = self.separator.join([*groups, tail])
        sign = "-" if number.startswith("-") else ""
        return f"{sign}{text}{self.decimal}{fraction}" if fraction else f"{sign}{text}"


_POINT_COMMA = NumberStyle(".", ",")
_COMMA_POINT = NumberStyle(",", ".")
_COMMA_SPACE = NumberStyle(",", _SPACE)
_POINT_SPACE = NumberStyle(".", _SPACE)
_SWISS = NumberStyle(".", _APOSTROPHE)
_INDIAN = NumberStyle(".", ",", 2)

_LANGUAGES = {
    _POINT_COMMA: "aa ab ak am an ar ba bm bo ce cn co cu cy ee en fa ga gd gn gv ha he ig ii io iu"
    " ja ki km kn ko kw la lg mg mi mn ms mt my nd nv ny oc om os qu sd si sn so st sw th ti to ug"
    " ur vo wa yi yo za zh zu",
    _COMMA_POINT: "az bs ca da de el es eu fo fy gl hr id is it jv kl ku lb ln lo lu mk nl ps pt"
    " rn ro rw sc sg sl sr su tr vi wo",
    _COMMA_SPACE: "af be bg br cs cv eo et ff fi fr ht hu hy ie ka kk ky lt lv nb nn no nr pl ru se"
    " sk sq ss sv tg tk ts tt uk uz ve",
    _POINT_SPACE: "xh",
    _SWISS: "rm tn",
    _INDIAN: "as bn dv dz gu hi ml mr ne or pa sa ta te",
}
_BY_LANGUAGE = {
    language: style for style, languages in _LANGUAGES.items() for language in languages.split()
}
_EXCEPTIONS = {
    _POINT_COMMA: "es_BR es_BZ es_CU es_DO es_GT es_HN es_MX es_NI es_PA es_PE es_PR es_SV es_US"
    " ta_MY ta_SG",
    _COMMA_POINT: "ar_DZ ar_LB ar_LY ar_MA ar_MR ar_TN en_AT en_BE en_DE en_DK en_ES en_ID en_IT"
    " en_NL en_PL en_RO en_SI fr_LU ms_BN ms_ID qu_BO sw_CD",
    _COMMA_SPACE: "en_CZ en_FI en_FR en_HU en_NO en_PT en_SE en_SK en_ZA es_CR pt_AO pt_CH pt_CV"
    " pt_GQ pt_GW pt_LU pt_MO pt_MZ pt_PT pt_ST pt_TL",
    _SWISS: "de_CH de_LI en_CH it_CH",
    _INDIAN: "en_IN",
}
_BY_LOCALE = {locale: style for style, locales in _EXCEPTIONS.items() for locale in locales.split()}


def number_style(locale: str) -> NumberStyle:
    """Return how a locale such as ``de_CH`` or ``de-CH`` writes numbers; ``ValueError`` if none."""
    found = _LOCALE.fullmatch(locale)
    if found is not None:
        language, country = found[1].lower(), found[2].upper()
        style = _BY_LOCALE.get(f"{language}_{country}") or _BY_LANGUAGE.get(language)
        if style is not None:
            return style
    raise ValueError(f"unknown locale {locale!r}; write a language and a country, as in en_US")
