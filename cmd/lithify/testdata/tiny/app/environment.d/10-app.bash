export DIB_TINY_WORD=${DIB_TINY_WORD:-usual}
