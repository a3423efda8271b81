export DIB_TINY_SHADE=dark
