"""FIX 4.4 as data: fields with their types, groups, and what the venue's messages carry.

It covers the session-level messages and the application messages that the venue takes or sends
(D F G H, 8 9 j). Of the other messages it knows only that FIX 4.4 defines them. Beyond FIX's own
tables: Symbol(55) is required where an instrument is, and OrderQty(38) where CashOrderQty(152) and
OrderPercent(516) are absent.

Source: FIX 4.4 volumes 1 to 4 with errata.
"""

from dataclasses import dataclass
from enum import Enum

from openoutcry.protocol.fix.tags import USER_DEFINED


class FieldType(Enum):
    """What a value must look like."""

    STRING = "text"
    CHAR = "one character"
    BOOLEAN = "Y or N"
    INT = "a whole number"
    NATURAL = "a whole number, not negative"
    DECIMAL = "a decimal number"
    UTC_TIMESTAMP = "YYYYMMDD-HH:MM:SS, with 3, 6, 9 or no decimals"
    DATE = "YYYYMMDD"
    MONTH_YEAR = "YYYYMM, with a day, a week or neither"
    DATA = "bytes, as many as the length field before says"


@dataclass(frozen=True, slots=True)
class MessageDefinition:
    """The body of a message: header and trailer are the same for all."""

    name: str
    #: In the order in which they are missed.
    required: tuple[int, ...]
    #: Top-level tags; members of groups are in GROUPS.
    allowed: frozenset[int]


_FIELDS = {
    FieldType.STRING: """
        1 Account 8 BeginString 10 CheckSum 11 ClOrdID 15 Currency 17 ExecID 18 ExecInst
        19 ExecRefID 22 SecurityIDSource 23 IOIID 30 LastMkt 35 MsgType 37 OrderID
        41 OrigClOrdID 48 SecurityID 49 SenderCompID 50 SenderSubID 55 Symbol 56 TargetCompID
        57 TargetSubID 58 Text 65 SymbolSfx 66 ListID 70 AllocID 79 AllocAccount
        100 ExDestination 106 Issuer 107 SecurityDesc 112 TestReqID 115 OnBehalfOfCompID
        116 OnBehalfOfSubID 117 QuoteID 120 SettlCurrency 128 DeliverToCompID 129 DeliverToSubID
        138 MiscFeeCurr 139 MiscFeeType 142 SenderLocationID 143 TargetLocationID
        144 OnBehalfOfLocationID 145 DeliverToLocationID 167 SecurityType 198 SecondaryOrderID
        207 SecurityExchange 220 BenchmarkCurveCurrency 221 BenchmarkCurveName
        222 BenchmarkCurvePoint 233 StipulationType 234 StipulationValue 235 YieldType
        239 RepoCollateralSecurityType 243 UnderlyingRepoCollateralSecurityType
        250 LegRepoCollateralSecurityType 255 CreditRating 256 UnderlyingCreditRating
        257 LegCreditRating 305 UnderlyingSecurityIDSource 306 UnderlyingIssuer
        307 UnderlyingSecurityDesc 308 UnderlyingSecurityExchange 309 UnderlyingSecurityID
        310 UnderlyingSecurityType 311 UnderlyingSymbol 312 UnderlyingSymbolSfx
        318 UnderlyingCurrency 336 TradingSessionID 337 ContraTrader 347 MessageEncoding
        372 RefMsgType 375 ContraBroker 376 ComplianceID 379 BusinessRejectRefID 448 PartyID
        455 SecurityAltID 456 SecurityAltIDSource 458 UnderlyingSecurityAltID
        459 UnderlyingSecurityAltIDSource 461 CFICode 463 UnderlyingCFICode
        467 IndividualAllocID 470 CountryOfIssue 471 StateOrProvinceOfIssue 472 LocaleOfIssue
        479 CommCurrency 494 Designation 513 RegistID 521 ContAmtCurr 523 PartySubID
        524 NestedPartyID 526 SecondaryClOrdID 527 SecondaryExecID 529 OrderRestrictions
        543 InstrRegistry 545 NestedPartySubID 548 CrossID 551 OrigCrossID 553 Username
        554 Password 556 LegCurrency 583 ClOrdLinkID 584 MassStatusReqID
        592 UnderlyingCountryOfIssue 593 UnderlyingStateOrProvinceOfIssue
        594 UnderlyingLocaleOfIssue 595 UnderlyingInstrRegistry 596 LegCountryOfIssue
        597 LegStateOrProvinceOfIssue 598 LegLocaleOfIssue 599 LegInstrRegistry 600 LegSymbol
        601 LegSymbolSfx 602 LegSecurityID 603 LegSecurityIDSource 605 LegSecurityAltID
        606 LegSecurityAltIDSource 608 LegCFICode 609 LegSecurityType 616 LegSecurityExchange
        617 LegIssuer 620 LegSecurityDesc 625 TradingSessionSubID 628 HopCompID
        635 ClearingFeeIndicator 654 LegRefID 655 ContraLegRefID 688 LegStipulationType
        689 LegStipulationValue 691 Pool 693 QuoteRespID 699 BenchmarkSecurityID
        736 AllocSettlCurrency 740 LegPool 761 BenchmarkSecurityIDSource 762 SecuritySubType
        763 UnderlyingSecuritySubType 764 LegSecuritySubType 790 OrdStatusReqID
        848 TargetStrategyParameters 868 EventText 876 CPRegType 877 UnderlyingCPProgram
        878 UnderlyingCPRegType 888 UnderlyingStipType 889 UnderlyingStipValue 913 AgreementDesc
        914 AgreementID 918 AgreementCurrency 941 UnderlyingStrikeCurrency 942 LegStrikeCurrency
        943 TimeBracket 947 StrikeCurrency
    """,
    FieldType.CHAR: """
        13 CommType 21 HandlInst 29 LastCapacity 39 OrdStatus 40 OrdType 54 Side 59 TimeInForce
        63 SettlType 77 PositionEffect 81 ProcessCode 150 ExecType 156 SettlCurrFxRateCalc
        206 OptAttribute 317 UnderlyingOptAttribute 385 MsgDirection 388 DiscretionInst
        434 CxlRejResponseTo 442 MultiLegReportingType 447 PartyIDSource 468 RoundingDirection
        480 CancellationRights 481 MoneyLaunderingStatus 484 ExecPriceType 497 FundRenewWaiv
        525 NestedPartyIDSource 528 OrderCapacity 544 CashMargin 564 LegPositionEffect
        587 LegSettlType 589 DayBookingInst 590 BookingUnit 591 PreallocMethod
        613 LegOptAttribute 624 LegSide
    """,
    FieldType.BOOLEAN: """
        43 PossDupFlag 97 PossResend 113 ReportToExch 114 LocateReqd 121 ForexReq
        123 GapFillFlag 141 ResetSeqNumFlag 258 TradedFlatSwitch 377 SolicitedFlag
        464 TestMessageIndicator 636 WorkingIndicator 797 CopyMsgIndicator 912 LastRptRequested
    """,
    FieldType.INT: """
        98 EncryptMethod 102 CxlRejReason 103 OrdRejReason 108 HeartBtInt 157 NumDaysInterest
        201 PutOrCall 203 CoveredOrUncovered 226 RepurchaseTerm 244 UnderlyingRepurchaseTerm
        251 LegRepurchaseTerm 315 UnderlyingPutOrCall 371 RefTagID 373 SessionRejectReason
        378 ExecRestatementReason 380 BusinessRejectReason 423 PriceType 427 GTBookingInst
        452 PartyRole 460 Product 462 UnderlyingProduct 519 ContAmtType 538 NestedPartyRole
        549 CrossType 565 LegCoveredOrUncovered 581 AccountType 582 CustOrderCapacity
        607 LegProduct 638 PriorityIndicator 660 AcctIDSource 661 AllocAcctIDSource
        663 BenchmarkPriceType 690 LegSwapType 698 YieldRedemptionPriceType 775 BookingType
        788 TerminationType 803 PartySubIDType 805 NestedPartySubIDType 835 PegMoveType
        836 PegOffsetType 837 PegLimitType 838 PegRoundDirection 840 PegScope
        841 DiscretionMoveType 842 DiscretionOffsetType 843 DiscretionLimitType
        844 DiscretionRoundDirection 846 DiscretionScope 847 TargetStrategy 851 LastLiquidityInd
        854 QtyType 865 EventType 875 CPProgram 891 MiscFeeBasis 911 TotNumReports
        919 DeliveryType
    """,
    FieldType.NATURAL: """
        7 BeginSeqNo 9 BodyLength 16 EndSeqNo 34 MsgSeqNum 36 NewSeqNo 45 RefSeqNum 78 NoAllocs
        90 SecureDataLen 93 SignatureLength 95 RawDataLength 136 NoMiscFees 212 XmlDataLen
        232 NoStipulations 348 EncodedIssuerLen 350 EncodedSecurityDescLen 354 EncodedTextLen
        362 EncodedUnderlyingIssuerLen 364 EncodedUnderlyingSecurityDescLen
        369 LastMsgSeqNumProcessed 382 NoContraBrokers 383 MaxMessageSize 384 NoMsgTypes
        386 NoTradingSessions 453 NoPartyIDs 454 NoSecurityAltID 457 NoUnderlyingSecurityAltID
        518 NoContAmts 539 NoNestedPartyIDs 555 NoLegs 604 NoLegSecurityAltID
        618 EncodedLegIssuerLen 621 EncodedLegSecurityDescLen 627 NoHops 630 HopRefID
        683 NoLegStipulations 711 NoUnderlyings 789 NextExpectedMsgSeqNum 802 NoPartySubIDs
        804 NoNestedPartySubIDs 864 NoEvents 887 NoUnderlyingStips
    """,
    FieldType.DECIMAL: """
        6 AvgPx 12 Commission 14 CumQty 31 LastPx 32 LastQty 38 OrderQty 44 Price 80 AllocQty
        99 StopPx 110 MinQty 111 MaxFloor 118 NetMoney 119 SettlCurrAmt 137 MiscFeeAmt
        140 PrevClosePx 151 LeavesQty 152 CashOrderQty 155 SettlCurrFxRate
        158 AccruedInterestRate 159 AccruedInterestAmt 192 OrderQty2 194 LastSpotRate
        195 LastForwardPoints 202 StrikePrice 210 MaxShow 211 PegOffsetValue 218 Spread
        223 CouponRate 227 RepurchaseRate 228 Factor 231 ContractMultiplier 236 Yield
        237 TotalTakedown 238 Concession 245 UnderlyingRepurchaseRate 246 UnderlyingFactor
        252 LegRepurchaseRate 253 LegFactor 260 BasisFeaturePrice 316 UnderlyingStrikePrice
        381 GrossTradeAmt 389 DiscretionOffsetValue 424 DayOrderQty 425 DayCumQty 426 DayAvgPx
        435 UnderlyingCouponRate 436 UnderlyingContractMultiplier 437 ContraTradeQty
        469 RoundingModulus 485 ExecPriceAdjustment 516 OrderPercent 520 ContAmtValue
        566 LegPrice 612 LegStrikePrice 614 LegContractMultiplier 615 LegCouponRate
        623 LegRatioQty 637 LegLastPx 639 PriceImprovement 640 Price2 641 LastForwardPoints2
        651 UnderlyingLastPx 652 UnderlyingLastQty 662 BenchmarkPrice 669 LastParPx 687 LegQty
        697 YieldRedemptionPrice 738 InterestAtMaturity 810 UnderlyingPx 839 PeggedPrice
        845 DiscretionPrice 849 ParticipationRate 850 TargetStrategyPerformance 867 EventPx
        879 UnderlyingQty 882 UnderlyingDirtyPrice 883 UnderlyingEndPrice
        884 UnderlyingStartValue 885 UnderlyingCurrentValue 886 UnderlyingEndValue
        898 MarginRatio 920 EndAccruedInterestAmt 921 StartCash 922 EndCash
    """,
    FieldType.UTC_TIMESTAMP: """
        52 SendingTime 60 TransactTime 122 OrigSendingTime 126 ExpireTime 168 EffectiveTime
        438 ContraTradeTime 483 TransBkdTime 515 ExecValuationPoint 586 OrigOrdModTime
        629 HopSendingTime
    """,
    FieldType.DATE: """
        64 SettlDate 75 TradeDate 193 SettlDate2 224 CouponPaymentDate 225 IssueDate
        229 TradeOriginationDate 230 ExDate 240 RedemptionDate 241 UnderlyingCouponPaymentDate
        242 UnderlyingIssueDate 247 UnderlyingRedemptionDate 248 LegCouponPaymentDate
        249 LegIssueDate 254 LegRedemptionDate 259 BasisFeatureDate 432 ExpireDate
        541 MaturityDate 542 UnderlyingMaturityDate 588 LegSettlDate 611 LegMaturityDate
        696 YieldRedemptionDate 701 YieldCalcDate 739 LegDatedDate 866 EventDate 873 DatedDate
        874 InterestAccrualDate 915 AgreementDate 916 StartDate 917 EndDate
        956 LegInterestAccrualDate
    """,
    FieldType.MONTH_YEAR: """
        200 MaturityMonthYear 313 UnderlyingMaturityMonthYear 610 LegMaturityMonthYear
        667 ContractSettlMonth 955 LegContractSettlMonth
    """,
    FieldType.DATA: """
        89 Signature 91 SecureData 96 RawData 213 XmlData 349 EncodedIssuer
        351 EncodedSecurityDesc 355 EncodedText 363 EncodedUnderlyingIssuer
        365 EncodedUnderlyingSecurityDesc 619 EncodedLegIssuer 622 EncodedLegSecurityDesc
    """,
}

_GROUPS = {
    78: "79 661 736 467 539 80",
    136: "137 138 139 891",
    232: "233 234",
    382: "375 337 437 438 655",
    384: "372 385",
    386: "336 625",
    453: "448 447 452 802",
    454: "455 456",
    457: "458 459",
    518: "519 520 521",
    539: "524 525 538 804",
    555: """
        600 601 602 603 604 607 608 609 764 610 611 248 249 250 251 252 253 257 599 596 597 598
        254 612 942 613 614 615 616 617 618 619 620 621 622 623 624 556 740 739 955 956 687 690
        683 564 565 539 654 566 587 588 637
    """,
    604: "605 606",
    627: "628 629 630",
    683: "688 689",
    711: """
        311 312 309 305 457 462 463 310 763 313 542 315 241 242 243 244 245 246 256 595 592 593
        594 247 316 941 317 436 435 308 306 362 363 307 364 365 877 878 318 879 810 882 883 884
        885 886 887
    """,
    802: "523 803",
    804: "545 805",
    864: "865 866 867 868",
    887: "888 889",
}

_COMPONENTS = {
    "CommissionData": "12 13 479 497",
    "ContAmtGrp": "518",
    "ContraGrp": "382",
    "DiscretionInstructions": "388 389 841 842 843 844 846",
    "EvntGrp": "864",
    "FinancingDetails": "913 914 915 918 788 916 917 919 898",
    "InstrmtLegExecGrp": "555",
    "Instrument": """
        55 65 48 22 454 460 461 167 762 200 541 201 224 225 239 226 227 228 255 543 470 471 472
        240 202 947 206 231 223 207 106 348 349 107 350 351 691 667 875 876 864 873 874
    """,
    "MiscFeesGrp": "136",
    "OrderQtyData": "38 152 516 468 469",
    "Parties": "453",
    "PegInstructions": "211 835 836 837 838 840",
    "PreAllocGrp": "78",
    "SecAltIDGrp": "454",
    "SpreadOrBenchmarkCurveData": "218 220 221 222 662 663 699 761",
    "Stipulations": "232",
    "TrdgSesGrp": "386",
    "UndInstrmtGrp": "711",
    "YieldData": "235 236 701 696 697 698",
}


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split())


def _fields() -> tuple[dict[int, str], dict[int, FieldType]]:
    names, types = {}, {}
    for field_type, text in _FIELDS.items():
        words = text.split()
        for tag, name in zip(words[::2], words[1::2], strict=True):
            names[int(tag)] = name
            types[int(tag)] = field_type
    return names, types


def _message(
    msg_type: str, name: str, required: str, allowed: str
) -> tuple[str, MessageDefinition]:
    tags: set[int] = set()
    for word in allowed.split():
        tags.update([int(word)] if word.isdigit() else _numbers(_COMPONENTS[word]))
    return msg_type, MessageDefinition(name, _numbers(required), frozenset(tags))


#: Name and type of each field that a message below may carry.
FIELD_NAMES, FIELD_TYPES = _fields()

#: Tags of groups, by the tag of their NumInGroup field; each instance begins with the first.
GROUPS = {tag: _numbers(text) for tag, text in _GROUPS.items()}

HEADER_TAGS = frozenset(
    _numbers(
        "8 9 35 49 56 34 52 43 50 57 90 91 97 115 116 122 128 129 142 143 144 145 212 213 347 369"
        " 627"
    )
)
#: Beside BeginString, BodyLength and MsgType, without which a message is garbled.
HEADER_REQUIRED = (49, 56, 34, 52)
TRAILER_TAGS = frozenset({93, 89, 10})

#: Fields of type DATA by the field that tells their length and stands just before them.
DATA_TAGS = {
    90: 91, 93: 89, 95: 96, 212: 213, 348: 349, 350: 351, 352: 353, 354: 355, 356: 357, 358: 359,
    360: 361, 362: 363, 364: 365, 445: 446, 618: 619, 621: 622,
}  # fmt: skip

#: Characters that FIX 4.4 defines for fields that the venue reads, whether it serves them or not.
ENUMERATIONS = {
    21: frozenset(b"123"),  # HandlInst
    39: frozenset(b"012346789ABCDE"),  # OrdStatus
    40: frozenset(b"12346789DEGIJKLMP"),  # OrdType
    54: frozenset(b"123456789ABCDEFG"),  # Side
    59: frozenset(b"01234567"),  # TimeInForce
    150: frozenset(b"03456789ABCDEFGHI"),  # ExecType
    434: frozenset(b"12"),  # CxlRejResponseTo
}

#: OrderQty(38) is missed in these messages unless one of the alternatives is there.
ORDER_QTY_REQUIRED = frozenset("DG")
ORDER_QTY_ALTERNATIVES = (152, 516)

#: MsgType(35) of all messages that FIX 4.4 defines.
MSG_TYPES = frozenset(
    [
        *"0123456789ABCDEFGHJKLMNPQRSTVWXYZabcdefghijklmnopqrstuvwxyz",
        *(f"A{second}" for second in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
        *(f"B{second}" for second in "ABCDEFGH"),
    ]
)

_LAST_TAG = 956
_NOT_IN_44 = frozenset(
    {20, 24, 46, 47, 51, 76, 86, 92, 101, 105, 109, 125, 166, 204, 205, 219, 261, 314, 319, 370}
    | set(range(173, 188))
    | {439, 440, 449, 450, 465, 653, 685, 809, 831}
)


def is_defined(tag: int) -> bool:
    """Tell whether FIX 4.4 defines a tag, or leaves it to its users."""
    return tag >= USER_DEFINED or (1 <= tag <= _LAST_TAG and tag not in _NOT_IN_44)


def describe(tag: int) -> str:
    """Return `Name(tag)`, or the tag alone."""
    return f"{FIELD_NAMES[tag]}({tag})" if tag in FIELD_NAMES else f"tag {tag}"


#: What is known of a message's body, by MsgType(35).
MESSAGES: dict[str, MessageDefinition] = dict(
    (
        _message(
            "0",
            "Heartbeat",
            "",
            """
            112
        """,
        ),
        _message(
            "1",
            "TestRequest",
            "112",
            """
            112
        """,
        ),
        _message(
            "2",
            "ResendRequest",
            "7 16",
            """
            7 16
        """,
        ),
        _message(
            "3",
            "Reject",
            "45",
            """
            45 371 372 373 58 354 355
        """,
        ),
        _message(
            "4",
            "SequenceReset",
            "36",
            """
            123 36
        """,
        ),
        _message(
            "5",
            "Logout",
            "",
            """
            58 354 355
        """,
        ),
        _message(
            "8",
            "ExecutionReport",
            "37 17 150 39 54 151 14 6",
            """
            37 198 526 527 11 41 583 693 790 584 911 912 229 66 548 551 549 17 19 150 39 636 103 378
            1 660 581 589 590 591 63 64 544 635 54 854 40 423 44 99 839 845 847 848 849 850 15 376
            377 59 168 432 126 18 528 529 582 32 652 31 651 669 194 195 30 336 625 943 29 151 14 6
            424 425 426 427 75 60 113 381 157 230 158 159 738 920 921 922 258 259 260 238 237 118
            119 120 155 156 21 110 111 77 210 775 58 354 355 193 192 641 442 480 481 513 494 483 515
            484 485 638 639 851 797 Parties ContraGrp Instrument FinancingDetails UndInstrmtGrp
            Stipulations OrderQtyData PegInstructions DiscretionInstructions CommissionData
            SpreadOrBenchmarkCurveData YieldData ContAmtGrp InstrmtLegExecGrp MiscFeesGrp
        """,
        ),
        _message(
            "9",
            "OrderCancelReject",
            "37 11 41 39 434",
            """
            37 198 526 11 583 41 39 636 586 66 1 660 581 229 75 60 434 102 58 354 355
        """,
        ),
        _message(
            "A",
            "Logon",
            "98 108",
            """
            98 108 95 96 141 789 383 384 464 553 554
        """,
        ),
        _message(
            "D",
            "NewOrderSingle",
            "11 55 54 60 40",
            """
            11 526 583 229 75 1 660 581 589 590 591 70 63 64 544 635 21 18 110 111 100 81 140 54 114
            60 854 40 423 44 99 15 376 377 23 117 59 168 432 126 427 528 529 582 121 120 775 58 354
            355 193 192 640 77 203 210 847 848 849 480 481 513 494 Parties PreAllocGrp TrdgSesGrp
            Instrument FinancingDetails UndInstrmtGrp Stipulations OrderQtyData
            SpreadOrBenchmarkCurveData YieldData CommissionData PegInstructions
            DiscretionInstructions
        """,
        ),
        _message(
            "F",
            "OrderCancelRequest",
            "41 11 55 54 60",
            """
            41 37 11 526 583 66 586 1 660 581 54 60 376 58 354 355 Parties Instrument
            FinancingDetails UndInstrmtGrp OrderQtyData
        """,
        ),
        _message(
            "G",
            "OrderCancelReplaceRequest",
            "41 11 55 54 60 40",
            """
            37 229 75 41 11 526 583 66 586 1 660 581 589 590 591 70 63 64 544 635 21 18 110 111 100
            54 60 854 40 423 44 99 847 848 849 376 377 15 59 168 432 126 427 528 529 582 121 120 775
            58 354 355 193 192 640 77 203 210 114 480 481 513 494 Parties PreAllocGrp TrdgSesGrp
            Instrument FinancingDetails UndInstrmtGrp OrderQtyData SpreadOrBenchmarkCurveData
            YieldData PegInstructions DiscretionInstructions CommissionData
        """,
        ),
        _message(
            "H",
            "OrderStatusRequest",
            "11 55 54",
            """
            37 11 526 583 790 1 660 54 Parties Instrument FinancingDetails UndInstrmtGrp
        """,
        ),
        _message(
            "j",
            "BusinessMessageReject",
            "372 380",
            """
            45 372 379 380 58 354 355
        """,
        ),
    )
)
