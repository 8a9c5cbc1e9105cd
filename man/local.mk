MAN_PAGES = man/headgate-publish.1 man/headgatectl.1 man/headgatectl-check.1 \
	man/headgatectl-dead.1 man/headgate-control.5 man/headgate-log.5 man/headgate.conf.5 \
	man/headgate.7 man/headgate-operations.7 man/headgate-bank-account.8 man/headgate-payment.8 man/headgate-router.8 \
	man/headgate-subscription-manager.8
dist_man_MANS += $(MAN_PAGES)
