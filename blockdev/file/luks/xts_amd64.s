#include "textflag.h"

// A tweak is doubled in GF(2^128) by shifting its halves to the left: the bit
// that leaves the low half enters the high one, the bit that leaves the high one
// comes back as the polynomial. This mask picks both out of smeared sign bits.
DATA polynomial<>+0(SB)/8, $0x87
DATA polynomial<>+8(SB)/8, $0x01
GLOBL polynomial<>(SB), RODATA|NOPTR, $16

// The tweak of the next block, in X8; X9 is scratch, X10 the mask.
#define DOUBLE \
	PSHUFD $0x13, X8, X9 \
	PADDQ  X8, X8        \
	PSRAL  $31, X9       \
	PAND   X10, X9       \
	PXOR   X9, X8

// Block N of eight comes in; its tweak is kept on the stack for the way out.
#define LOAD(N, X) \
	MOVOU (N*16)(SI), X \
	PXOR  X8, X         \
	MOVOU X8, (N*16)(SP) \
	DOUBLE

#define STORE(N, X) \
	MOVOU (N*16)(SP), X9 \
	PXOR  X9, X          \
	MOVOU X, (N*16)(DI)

// One round of eight blocks, which the processor works at side by side.
#define ROUND(OP) \
	OP X11, X0 \
	OP X11, X1 \
	OP X11, X2 \
	OP X11, X3 \
	OP X11, X4 \
	OP X11, X5 \
	OP X11, X6 \
	OP X11, X7

#define XEX(OP, LAST) \
	MOVQ  keys+0(FP), AX   \
	MOVQ  rounds+8(FP), BX \
	MOVQ  dst+16(FP), DI   \
	MOVQ  src+24(FP), SI   \
	MOVQ  tweak+32(FP), DX \
	MOVQ  blocks+40(FP), CX \
	MOVOU (DX), X8         \
	MOVOU polynomial<>(SB), X10 \
eight:                     \
	CMPQ  CX, $8           \
	JLT   one              \
	LOAD(0, X0)            \
	LOAD(1, X1)            \
	LOAD(2, X2)            \
	LOAD(3, X3)            \
	LOAD(4, X4)            \
	LOAD(5, X5)            \
	LOAD(6, X6)            \
	LOAD(7, X7)            \
	MOVOU (AX), X11        \
	ROUND(PXOR)            \
	LEAQ  16(AX), R8       \
	LEAQ  -1(BX), R9       \
eightRounds:               \
	MOVOU (R8), X11        \
	ROUND(OP)              \
	ADDQ  $16, R8          \
	DECQ  R9               \
	JNZ   eightRounds      \
	MOVOU (R8), X11        \
	ROUND(LAST)            \
	STORE(0, X0)           \
	STORE(1, X1)           \
	STORE(2, X2)           \
	STORE(3, X3)           \
	STORE(4, X4)           \
	STORE(5, X5)           \
	STORE(6, X6)           \
	STORE(7, X7)           \
	ADDQ  $128, SI         \
	ADDQ  $128, DI         \
	SUBQ  $8, CX           \
	JMP   eight            \
one:                       \
	TESTQ CX, CX           \
	JEQ   done             \
	LOAD(0, X0)            \
	MOVOU (AX), X11        \
	PXOR  X11, X0          \
	LEAQ  16(AX), R8       \
	LEAQ  -1(BX), R9       \
oneRounds:                 \
	MOVOU (R8), X11        \
	OP    X11, X0          \
	ADDQ  $16, R8          \
	DECQ  R9               \
	JNZ   oneRounds        \
	MOVOU (R8), X11        \
	LAST  X11, X0          \
	STORE(0, X0)           \
	ADDQ  $16, SI          \
	ADDQ  $16, DI          \
	DECQ  CX               \
	JMP   one              \
done:                      \
	MOVOU X8, (DX)         \
	RET

// func encryptXEX(keys *byte, rounds int, dst, src, tweak *byte, blocks int)
TEXT ·encryptXEX(SB), NOSPLIT, $128-48
	XEX(AESENC, AESENCLAST)

// func decryptXEX(keys *byte, rounds int, dst, src, tweak *byte, blocks int)
TEXT ·decryptXEX(SB), NOSPLIT, $128-48
	XEX(AESDEC, AESDECLAST)

// func substitute(word uint32) uint32
TEXT ·substitute(SB), NOSPLIT, $0-12
	MOVL word+0(FP), AX
	MOVQ AX, X0
	PSHUFD $0, X0, X0
	AESKEYGENASSIST $0, X0, X1
	MOVQ X1, AX
	MOVL AX, ret+8(FP)
	RET

// func invertMix(dst, src *byte)
TEXT ·invertMix(SB), NOSPLIT, $0-16
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVOU (SI), X0
	AESIMC X0, X0
	MOVOU X0, (DI)
	RET
