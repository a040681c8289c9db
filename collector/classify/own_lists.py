"""Lists hosts and words that published lists lack: web mail, and names in campaign parameters.

CHANNELS_VERSION covers these lists: a change here requires a new CHANNELS_VERSION.
"""

from __future__ import annotations

from typing import Final, Literal

# The kinds of sites and apps from which visitors arrive. If no list contains a site, its kind is "site". If a hit has
# no referring site, the kind is "none".
Kind = Literal["none", "site", "search", "social", "ai", "email", "payment"]

# Maps the host of each web mail service, and the package of each mail app, to a name.
WEBMAIL_HOSTS: Final = {
    "mail.google.com": "Gmail",
    "com.google.android.gm": "Gmail",
    "mail.yahoo.com": "Yahoo! Mail",
    "com.yahoo.mobile.client.android.mail": "Yahoo! Mail",
    "mail.aol.com": "AOL Mail",
    "outlook.live.com": "Outlook",
    "mail.live.com": "Outlook",
    "outlook.office.com": "Outlook",
    "outlook.office365.com": "Outlook",
    "com.microsoft.office.outlook": "Outlook",
    "mail.proton.me": "Proton Mail",
    "mail.protonmail.com": "Proton Mail",
    "mail.yandex.ru": "Yandex Mail",
    "mail.yandex.com": "Yandex Mail",
    "e.mail.ru": "Mail.ru",
    "mail.rambler.ru": "Rambler Mail",
    "mail.qq.com": "QQ Mail",
    "mail.163.com": "NetEase Mail",
    "mail.126.com": "NetEase Mail",
    "mail.naver.com": "Naver Mail",
    "mail.daum.net": "Daum Mail",
    "navigator.gmx.net": "GMX",
    "3c.gmx.net": "GMX",
    "navigator.web.de": "Web.de Mail",
    "3c.web.de": "Web.de Mail",
    "mail.zoho.com": "Zoho Mail",
    "app.fastmail.com": "Fastmail",
    "mail.orange.fr": "Orange Mail",
    "webmail.free.fr": "Free Mail",
    "mail.libero.it": "Libero Mail",
    "email.seznam.cz": "Seznam Email",
    "poczta.onet.pl": "Onet Poczta",
    "poczta.wp.pl": "WP Poczta",
    "email.t-online.de": "T-Online Mail",
}

# For each kind of site, the lower-case words that senders write into utm_source. Senders may also write a host into
# utm_source ("chatgpt.com"); hosts are looked up like referrers.
SOURCE_WORDS: Final[dict[Kind, str]] = {
    "search": """
        google bing yahoo duckduckgo ddg baidu yandex ecosia qwant startpage brave naver seznam sogou kagi
    """,
    "social": """
        facebook fb instagram ig insta threads twitter x linkedin pinterest reddit tiktok snapchat youtube
        yt tumblr vk vkontakte weibo wechat whatsapp telegram discord mastodon bluesky xing quora
        hackernews social
    """,
    "ai": """
        chatgpt openai perplexity claude gemini copilot deepseek mistral lechat grok meta-ai meta.ai
        notebooklm qwen
    """,
    "email": """
        email e-mail e_mail mail newsletter mailchimp klaviyo sendgrid mailjet brevo sendinblue hs_email
        gmail outlook
    """,
}

# Apps and hosts that the published list lacks, by kind and name.
MORE_PLACES: Final[dict[Kind, dict[str, list[str]]]] = {
    "ai": {
        "ChatGPT": ["com.openai.chatgpt"],
        "Claude": ["com.anthropic.claude"],
        "Copilot": ["com.microsoft.copilot"],
        "Deepseek": ["com.deepseek.chat"],
        "Gemini": ["com.google.android.apps.bard"],
        "Grok": ["ai.x.grok"],
        "Perplexity": ["ai.perplexity.app.android"],
    },
    "social": {
        "Bluesky": ["xyz.blueskyweb.app"],
        "Discord": ["com.discord"],
        "Facebook": ["com.facebook.katana", "com.facebook.lite", "com.facebook.orca", "messenger.com", "m.me"],
        "Hatena": ["b.hatena.ne.jp"],
        "Instagram": ["com.instagram.android", "com.instagram.lite", "ig.me"],
        "LINE": ["jp.naver.line.android", "line.me"],
        "Lemmy": ["lemmy.world", "lemmy.ml"],
        "LinkedIn": ["com.linkedin.android", "com.linkedin.android.lite"],
        "Medium": ["com.medium.reader", "medium.com"],
        "Odnoklassniki": ["ru.ok.android"],
        "Pinterest": ["com.pinterest", "pin.it"],
        "Quora": ["com.quora.android", "quora.com"],
        "Snapchat": ["com.snapchat.android"],
        "Substack": ["com.substack.app", "substack.com"],
        "Telegram": ["org.telegram.messenger.web", "org.thunderdog.challegram"],
        "Threads": ["com.instagram.barcelona"],
        "TikTok": ["com.zhiliaoapp.musically", "com.ss.android.ugc.trill"],
        "Twitch": ["tv.twitch.android.app", "twitch.tv"],
        "Twitter": ["com.twitter.android", "com.twitter.android.lite"],
        "Vkontakte": ["com.vkontakte.android"],
        "WeChat": ["com.tencent.mm"],
        "Weibo": ["com.sina.weibo"],
        "WhatsApp": ["com.whatsapp", "com.whatsapp.w4b", "wa.me", "whatsapp.com"],
        "XING": ["com.xing.android"],
        "YouTube": ["com.google.android.youtube", "com.google.android.apps.youtube.music"],
        "reddit": ["redd.it", "com.andrewshu.android.reddit"],
        "tumblr": ["com.tumblr"],
    },
    "search": {
        "Baidu": ["com.baidu.searchbox"],
        "Bing": ["com.microsoft.bing"],
        "Brave": ["com.brave.browser"],
        "DuckDuckGo": ["com.duckduckgo.mobile.android", "html.duckduckgo.com", "lite.duckduckgo.com"],
        "Ecosia": ["com.ecosia.android"],
        "Google": ["com.google.android.googlequicksearchbox", "syndicatedsearch.goog"],
        "Marginalia": ["marginalia.nu", "search.marginalia.nu"],
        "MetaGer": ["metager.org"],
        "Naver": ["com.nhn.android.search"],
        "Petal Search": ["petalsearch.com"],
        "Qwant": ["com.qwant.liberty"],
        "Yandex": ["com.yandex.searchapp", "ru.yandex.searchplugin"],
    },
}
