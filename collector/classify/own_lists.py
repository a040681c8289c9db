"""Hosts and words that no published list has: payment providers, web mail, names in campaign parameters.

Decides nothing by itself. Part of what CHANNELS_VERSION names: a change here is a new version there.
"""

from __future__ import annotations

from typing import Final, Literal

# What a place can stand for. "site" is any other site, "none" no place at all.
Kind = Literal["none", "site", "search", "social", "ai", "email", "payment"]

# A customer who comes back from paying was not sent by the payment provider (rules.md §9, rule S3).
PAYMENT_HOSTS: Final = """
    paypal.com paypal.me paypalobjects.com braintreegateway.com braintree-api.com stripe.com stripe.network
    link.com klarna.com klarnacdn.net klarnaservices.com sofort.com giropay.de paydirekt.de wero-wallet.eu
    adyen.com adyenpayments.com mollie.com mollie.nl worldpay.com checkout.com sumup.com pay.google.com
    apple-pay-gateway.apple.com pay.amazon.com pay.amazon.co.uk pay.amazon.de pay.amazon.eu
    payments.amazon.com payments.amazon.de payments-eu.amazon.com payments.amazon.co.uk shop.app
    pay.shopify.com squareup.com authorize.net 2checkout.com paddle.com cybersource.com datatrans.com
    datatrans.biz saferpay.com postfinance.ch wallee.com twint.ch payrexx.com sagepay.com opayo.co.uk
    gocardless.com bluesnap.com multisafepay.com buckaroo.nl ideal.nl pay.nl bancontact.com payconiq.com
    computop-paygate.com payone.com pay1.de unzer.com heidelpay.com novalnet.de concardis.com wirecard.com
    ogone.com ingenico.com viva.com vivapayments.com trustly.com swish.nu nets.eu dibspayment.eu
    quickpay.net vipps.no mobilepay.dk przelewy24.pl payu.com payu.in tpay.com dotpay.pl gopay.com
    comgate.cz redsys.es nexi.it satispay.com scalapay.com oney.fr getalma.eu systempay.fr payplug.com
    afterpay.com clearpay.co.uk affirm.com zip.co sezzle.com razorpay.com paytm.com ccavenue.com
    billdesk.com phonepe.com alipay.com tenpay.com mercadopago.com mercadopago.com.ar mercadopago.com.br
    pagseguro.uol.com.br payfast.co.za paystack.com flutterwave.com iyzico.com yookassa.ru cloudpayments.ru
    skrill.com neteller.com coinbase.com bitpay.com
""".split()  # noqa: SIM905  # a hundred quoted hosts would take a page

# Readers of mail in a browser or an app: host or package → name.
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

# Kind → what people write into utm_source for such a place, in lower case. A host does as well
# ("chatgpt.com").
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

# Networks that mark ordinary links as well as paid ones; every other click id comes from an advertisement.
UNPAID_CLICK_IDS: Final = {
    "fbclid": "social",
    "igshid": "social",
    "igsh": "social",
    "mc_eid": "email",
    "mkt_tok": "email",
    "_hsenc": "email",
    "srsltid": "search",
}
