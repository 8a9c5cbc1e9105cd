#!/bin/sh
# Mails somebody that a gate has closed. Wants sendmail(8), from whatever mail system there is.
#
# Usage, in headgate.conf:
#     queue payment-processing {
#         ...
#         on_trip = '/usr/local/share/headgate/on-trip-mail.sh oncall@example.org'
#     }
set -eu

to=${1:?usage: on-trip-mail.sh ADDRESS}
sendmail=$(command -v sendmail || echo /usr/sbin/sendmail)

# Only the queue's name goes into a header: the other facts come with messages, from anybody.
"$sendmail" -t -oi <<END
To: $to
Subject: headgate: $HEADGATE_QUEUE is $HEADGATE_STATE
Auto-Submitted: auto-generated
Content-Type: text/plain; charset=utf-8

Queue $HEADGATE_QUEUE on $(uname -n) is $HEADGATE_STATE since $HEADGATE_SINCE.

message:  $HEADGATE_MESSAGE_ID (sequence $HEADGATE_SEQUENCE)
answered: $HEADGATE_STATUS $HEADGATE_ERROR
waiting:  $HEADGATE_DEPTH messages, in order; none is lost

When the cause is mended:  $HEADGATE_START
END
