/* SPDX-License-Identifier: GPL-2.0-only */
/* All is in lz4.h. */
