"""Session descriptions with what a careless parser would rewrite: every byte matters."""

OFFER = (
    b"v=0\r\n"
    b"o=- 3893246423 3893246423 IN IP4 127.0.0.1\r\n"
    b"s=caller with  two spaces\r\n"
    b"c=IN IP4 127.0.0.1\r\n"
    b"t=0 0\r\n"
    b"a=X-lab:order-and-case:Matter\r\n"
    b"m=audio 40000 RTP/AVP 8 0 101\r\n"
    b"a=rtpmap:101 telephone-event/8000\r\n"
    b"a=rtpmap:8 PCMA/8000\r\n"
    b"a=fmtp:101 0-16\r\n"
    b"a=sendrecv\r\n"
)
ANSWER = (
    b"v=0\r\n"
    b"o=phone 1 1 IN IP4 127.0.0.1\r\n"
    b"s=-\r\n"
    b"c=IN IP4 127.0.0.1\r\n"
    b"t=0 0\r\n"
    b"m=audio 40002 RTP/AVP 8 101\r\n"
    b"a=rtpmap:8 PCMA/8000\r\n"
    b"a=rtpmap:101 telephone-event/8000\r\n"
    b"a=X-lab:answered\r\n"
)
HOLD = OFFER.replace(b"a=sendrecv", b"a=sendonly").replace(b"423 IN", b"424 IN")
CONTENT_TYPE = ("Content-Type", "application/sdp")
