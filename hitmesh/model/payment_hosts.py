"""Hosts of payment providers, which are never a referrer, and the reason why a referrer rule can match no hit.

A visitor who returns from a payment provider, or from another page of the site, continues a visit. The collector
therefore drops such referrers before it compares exclusion rules.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

# CHANNELS_VERSION (collector/classify) covers this list: a change here requires a new CHANNELS_VERSION.
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


def dropped_referrer(pattern: str, own_hosts: Collection[str]) -> str:
    """Return the payment provider or own host of a referrer rule that can match no hit; "" if the rule may match.

    Args:
        pattern: a host, or `*.` and a host, in normal form.
        own_hosts: the hosts that the site declares as its own.

    Example:
        >>> dropped_referrer("*.paypal.com", ()), dropped_referrer("blog.shop.example", ["shop.example"])
        ('paypal.com', 'shop.example')
        >>> dropped_referrer("*.example", ["shop.example"]), dropped_referrer("notpaypal.com", ())
        ('', '')
    """
    host = pattern.removeprefix("*.")
    dropped = (*(each.removeprefix("www.") for each in own_hosts), *PAYMENT_HOSTS)
    return next((each for each in dropped if host == each or host.endswith(f".{each}")), "")
